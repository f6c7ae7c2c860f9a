"""Names of points on axes, moved aside so that they hide neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.transforms import Affine2D, Bbox

_RADIUS = 3.7
"""Points (1/72 inch) that nothing is written on, around each point."""
_DISTANCES = (4, 10, 17, 25, 34, 44)
"""Points from a point to its name."""
_ANGLES = np.arange(12) * np.pi / 6
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def label_points(axes: Axes, places: np.ndarray, names: Sequence[str], size: float = 6.5) -> int:
    """Writes each name near its point, joined to it by a line where it has to stand further off.

    Limits and layout must be final, the latter by `Figure.draw_without_rendering`. A name for which there is no free
    room is left out.

    Args:
        places: (K, 2) in data coordinates.
        names: (K,).
        size: of letters, in points.

    Returns:
        How many names were written.
    """
    in_points = Affine2D().scale(72 / axes.get_figure(root=True).dpi)
    window = axes.get_window_extent().transformed(in_points)
    anchors = in_points.transform(axes.transData.transform(places))
    taken = [Bbox.from_extents(*(anchor - _RADIUS), *(anchor + _RADIUS)) for anchor in anchors]
    common = {"textcoords": "offset points", "annotation_clip": False}
    written = 0
    for index, (anchor, place, name) in enumerate(zip(anchors, places, names, strict=True)):
        outline = [patheffects.withStroke(linewidth=1.8, foreground="white")]
        text = axes.annotate(
            name, place, (0, 0), fontsize=size, ha="center", va="center", zorder=6, path_effects=outline, **common
        )
        text.set_in_layout(False)
        extent = text.get_window_extent().transformed(in_points)
        others = [box for other, box in enumerate(taken) if other != index]
        box = _free_box(anchor, np.array(extent.size), window, taken[index], others)
        if box is None:
            text.remove()
            continue
        written += 1
        taken.append(box)
        text.set_position(box.get_points().mean(axis=0) - anchor)
        nearest = anchor.clip(box.min, box.max) - anchor
        if np.hypot(*nearest) > _RADIUS + 2:
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.25", "shrinkA": 0, "shrinkB": _RADIUS}
            axes.annotate("", place, nearest, arrowprops=line, zorder=4, **common).set_in_layout(False)
    return written


def _free_box(anchor: np.ndarray, size: np.ndarray, window: Bbox, own: Bbox, others: Sequence[Bbox]) -> Bbox | None:
    """The nearest box of this size around an anchor that, with the line to it, touches none of the others."""
    for distance in _DISTANCES:
        for direction in _DIRECTIONS:
            middle = anchor + direction * (distance + size / 2)
            box = Bbox([middle - size / 2, middle + size / 2])
            if (box.min < window.min).any() or (box.max > window.max).any() or box.count_overlaps([own, *others]):
                continue
            line = np.linspace(anchor, anchor.clip(box.min, box.max), 8)
            if distance == _DISTANCES[0] or not any(other.contains(*point) for other in others for point in line):
                return box
    return None
