"""Class colours are distinct, official where there are official ones, and never the black of ignored pixels."""

from __future__ import annotations

import numpy as np
import pytest

from acfnet_tf.data.cityscapes_labels import CLASS_COLORS
from acfnet_tf.visualization.palette import class_colors, colorize, overlay


def test_cityscapes_has_its_own_colors():
    np.testing.assert_array_equal(class_colors(19), CLASS_COLORS)


@pytest.mark.parametrize("num_classes", [1, 2, 19, 21, 150, 256, 1000])
def test_colors_are_distinct_and_not_black(num_classes):
    colors = class_colors(num_classes)
    assert colors.shape == (num_classes, 3)
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == num_classes
    assert colors.any(axis=1).all()


def test_other_counts_take_the_voc_color_map():
    np.testing.assert_array_equal(
        class_colors(20)[[0, 1, 2, 6, 7, 19]],
        [(128, 0, 0), (0, 128, 0), (128, 128, 0), (128, 128, 128), (64, 0, 0), (0, 64, 128)],
    )


def test_colorize_draws_ignored_pixels_black():
    labels = np.array([[0, 18, 255]], np.uint8)
    np.testing.assert_array_equal(colorize(labels, class_colors(19)), [[(128, 64, 128), (119, 11, 32), (0, 0, 0)]])


def test_colorize_of_many_classes():
    labels = np.array([[0, 255, 299]], np.uint16)
    np.testing.assert_array_equal(colorize(labels, class_colors(300))[0], class_colors(300)[[0, 255, 299]])


def test_overlay_is_the_mean_of_image_and_color():
    image = np.full((1, 1, 3), 255, np.uint8)
    np.testing.assert_array_equal(overlay(image, np.zeros((1, 1), np.uint8), class_colors(19)), [[(191, 159, 191)]])
