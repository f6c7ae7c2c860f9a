"""Colours of the classes."""

from __future__ import annotations

import numpy as np

from acfnet_tf.data.cityscapes_labels import CLASS_COLORS


def class_colors(num_classes: int) -> np.ndarray:
    """Colours of the classes, (N, 3) uint8 RGB, all different and none of them black.

    The 19 classes of Cityscapes have their official colours. Any other number takes the colour map of PASCAL VOC, from
    its second entry on: the first is black, and black is what ignored pixels are drawn in.
    """
    return CLASS_COLORS.copy() if num_classes == len(CLASS_COLORS) else _voc_colors(num_classes + 1)[1:]


def colorize(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Labels in colour.

    Args:
        labels: (H, W) class indices, uint8 or uint16.
        colors: (N, 3) uint8.

    Returns:
        (H, W, 3) uint8; labels from N on (255 = ignored, in fewer than 256 classes) are black.
    """
    table = np.zeros((np.iinfo(labels.dtype).max + 1, 3), np.uint8)
    table[: len(colors)] = colors
    return table[labels]


def overlay(image: np.ndarray, labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The labels' colours laid half transparent over the image, (H, W, 3) uint8."""
    return ((image.astype(np.uint16) + colorize(labels, colors)) // 2).astype(np.uint8)


def _voc_colors(count: int) -> np.ndarray:
    """PASCAL VOC's colour map: the bits of the index, dealt to R, G and B in turn from the highest bit down."""
    indices = np.arange(count)
    colors = np.zeros((count, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (indices >> (3 * bit + channel) & 1) << (7 - bit)
    return colors.astype(np.uint8)
