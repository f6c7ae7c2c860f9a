"""Labels in colour, ignored ones black; sizes change without new labels."""

from __future__ import annotations

import numpy as np

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.visualization.palette import colorize, overlay, resized


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


def test_every_pixel_of_another_size_is_the_one_at_its_place():
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(resized(labels, (6, 8)), labels.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resized(labels, (1, 4)), labels[1:2])
    np.testing.assert_array_equal(resized(np.stack([labels] * 3, -1).astype(np.uint8), (3, 4))[..., 0], labels)
    steps = np.repeat(np.uint8([[0, 255]]), 4, axis=1)[..., None].repeat(3, -1)
    assert resized(steps, (1, 3))[0, :, 0].tolist()[1] not in (0, 255)  # images, unlike labels, are smoothed
