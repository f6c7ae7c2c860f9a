"""Labels in colour, ignored ones black."""

from __future__ import annotations

import numpy as np

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import default_colors
from acfnet_tf.visualization.palette import colorize, overlay


def test_colorize_draws_ignored_pixels_black():
    labels = np.array([[0, 18, 255]], np.uint8)
    np.testing.assert_array_equal(colorize(labels, CITYSCAPES.colors), [[(128, 64, 128), (119, 11, 32), (0, 0, 0)]])


def test_colorize_of_many_classes():
    labels = np.array([[0, 255, 299]], np.uint16)
    np.testing.assert_array_equal(
        colorize(labels, default_colors(300))[0], np.array(default_colors(300))[[0, 255, 299]]
    )


def test_overlay_is_the_mean_of_image_and_color():
    image = np.full((1, 1, 3), 255, np.uint8)
    np.testing.assert_array_equal(overlay(image, np.zeros((1, 1), np.uint8), CITYSCAPES.colors), [[(191, 159, 191)]])
