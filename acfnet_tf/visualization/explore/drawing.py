"""Pictures of the page, no larger than a screen shows them: overlays, similarity maps, crosses."""

from __future__ import annotations

from collections.abc import Collection

import matplotlib
import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.layers.resize import Grid, interpolate, interpolation
from acfnet_tf.visualization.palette import colorize, resized
from acfnet_tf.visualization.panels import HOT

LONGEST, SHORTEST = 1024, 512
"""The longer side of a picture on the page lies between these, in pixels: single pixels of tiny images can be hit."""

Size = tuple[int, int]
"""(height, width)."""


def view_size(size: Size) -> Size:
    """The size in which an image of this size (H, W) is shown; a tiny one is enlarged by a whole number."""
    longer = max(size)
    factor = min(1, LONGEST / longer) if longer >= SHORTEST else -(-SHORTEST // longer)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def on_screen(pixels: np.ndarray) -> np.ndarray:
    """Labels (H, W) or an image (H, W, 3) in the size in which they are shown."""
    return resized(pixels, view_size(pixels.shape[:2]))


def pixel_at(point: tuple[int, int], size: Size) -> tuple[int, int]:
    """The pixel (x, y) of an image of this size (H, W) that is shown at a point (x, y) of its view."""
    return tuple(
        min(max(0, (2 * place + 1) * length // (2 * shown)), length - 1)
        for place, length, shown in zip(point, size[::-1], view_size(size)[::-1], strict=True)
    )


def blend(
    image: np.ndarray, labels: np.ndarray, classes: ClassSet, shown: Collection[int], opacity: float
) -> np.ndarray:
    """The colours of some classes on an image.

    Args:
        image: (H, W, 3) uint8, as what is returned.
        labels: (H, W).
        shown: the classes; all others, and labels that are no class, leave the image as it is.
        opacity: 0 … 1.
    """
    alpha = np.zeros(np.iinfo(labels.dtype).max + 1, np.float32)
    alpha[list(shown)] = opacity
    alpha = alpha[labels][..., None]
    return np.rint(image * (1 - alpha) + colorize(labels, classes.colors) * alpha).astype(np.uint8)


def heat(values: np.ndarray, size: Size, grid: Grid, lowest: float) -> np.ndarray:
    """A feature-sized map in colour, laid over the view of its image as the network enlarges.

    Args:
        values: (h, w) between `lowest` and 1.
        size: (H, W) of the image.
        grid: the pixels on which the values stand.

    Returns:
        The view, uint8.
    """
    rows, columns = (
        interpolation((np.arange(shown) + 0.5) * length / shown - 0.5, cells, *grid)
        for shown, length, cells in zip(view_size(size), size, values.shape, strict=True)
    )
    enlarged = (interpolate(values[None, ..., None], rows, columns)[0, ..., 0].numpy() - lowest) / (1 - lowest)
    return matplotlib.colormaps[HOT](enlarged, bytes=True)[..., :3]


def draw_cross(picture: np.ndarray, pixel: tuple[int, int], size: Size) -> np.ndarray:
    """A copy of a view with a cross, white on black, at a pixel (x, y) of its image of this size (H, W)."""
    picture = picture.copy()
    height, width = picture.shape[:2]
    y, x = (
        int((place + 0.5) * shown / length)
        for place, shown, length in zip(pixel[::-1], (height, width), size, strict=True)
    )
    arm = max(4, max(height, width) // 50)
    for reach, half, color in ((arm + 1, 2, 0), (arm, 0, 255)):
        for down, right in ((reach, half), (half, reach)):
            picture[max(0, y - down) : y + down + 1, max(0, x - right) : x + right + 1] = color
    return picture
