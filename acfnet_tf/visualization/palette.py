"""Labels in colour, and pictures in other sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

Colors = np.ndarray | Sequence[tuple[int, int, int]]


def colorize(labels: np.ndarray, colors: Colors) -> np.ndarray:
    """Labels in colour.

    Args:
        labels: (H, W) class indices, uint8 or uint16.
        colors: (N, 3) of 0–255, such as `ClassSet.colors`.

    Returns:
        (H, W, 3) uint8; labels from N on, the ignored one for instance, are black.
    """
    table = np.zeros((np.iinfo(labels.dtype).max + 1, 3), np.uint8)
    table[: len(colors)] = colors
    return table[labels]


def overlay(image: np.ndarray, labels: np.ndarray, colors: Colors) -> np.ndarray:
    """The labels' colours laid half transparent over the image, (H, W, 3) uint8."""
    return ((image.astype(np.uint16) + colorize(labels, colors)) // 2).astype(np.uint8)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) or labels (H, W) in another size (height, width); labels are never mixed."""
    if pixels.ndim == 3 and max(size) < max(pixels.shape[:2]):
        return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
    sides = zip(size, pixels.shape[:2], strict=True)
    return pixels[np.ix_(*((2 * np.arange(new) + 1) * old // (2 * new) for new, old in sides))]
