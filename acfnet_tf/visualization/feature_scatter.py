"""Features as points in the plane in which they vary most, with marked vectors among them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.visualization.center_statistics import principal_plane
from acfnet_tf.visualization.panels import class_name
from acfnet_tf.visualization.point_labels import label_points

CROSS = {"marker": "x", "linestyle": "none", "markersize": 3, "markeredgewidth": 0.8}
"""Of `Line2D`: what a crossed point looks like in a legend."""
_LETTERS = 18


class Cloud(NamedTuple):
    """What a scatter plot shows.

    Attributes:
        features: (M, C), M ≥ 1.
        labels: (M,), their classes.
        crossed: (M,) bool, which are drawn as crosses.
        marked: (K,), the classes that have a disc and a name.
        vectors: (K, C), where.
    """

    title: str
    features: np.ndarray
    labels: np.ndarray
    crossed: np.ndarray
    marked: np.ndarray
    vectors: np.ndarray


def draw_cloud(axes: Axes, cloud: Cloud, classes: ClassSet) -> np.ndarray:
    """Everything but the names, which `name_marked` writes when the layout is final.

    Returns:
        The places (K, 2) of the marked vectors.
    """
    plane, colors = principal_plane(cloud.features), np.divide(classes.colors, 255)
    places = plane.place(cloud.features)
    for chosen, style in (
        (~cloud.crossed, {"s": 6, "linewidths": 0, "alpha": 0.7}),
        (cloud.crossed, {"s": CROSS["markersize"] ** 2, "marker": CROSS["marker"], "linewidths": 0.8}),
    ):
        axes.scatter(*places[chosen].T, c=colors[cloud.labels[chosen]], **style)
    marked = plane.place(cloud.vectors)
    for edge, width in (("white", 2.4), ("black", 1.0)):  # seen on any ground
        axes.scatter(*marked.T, s=42, c=colors[cloud.marked], edgecolors=edge, linewidths=width, zorder=5)
    axes.set(xticks=[], yticks=[], title=cloud.title)
    axes.set_xlabel(f"component 1 ({plane.shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"component 2 ({plane.shares[1]:.0%})")
    return marked


def name_marked(axes: Axes, places: np.ndarray, cloud: Cloud, classes: ClassSet) -> None:
    """Writes the names of a cloud's marked classes at these places.

    Gives both axes the same scale, so that distances can be compared. (`Axes.set_aspect` would widen the limits again
    at every step of the layout.)
    """
    window, limits = axes.get_window_extent(), axes.dataLim
    scale = 1.08 * max(limits.width / window.width, limits.height / window.height) or 1.0 / window.width
    x, y = (limits.x0 + limits.x1) / 2, (limits.y0 + limits.y1) / 2
    across, up = scale * window.width / 2, scale * window.height / 2
    axes.set(xlim=(x - across, x + across), ylim=(y - up, y + up))
    label_points(axes, places, short_names(classes, cloud.marked))


def short_names(classes: ClassSet, labels: Iterable[int]) -> list[str]:
    """Names that fit beside a point or a row."""
    return [class_name(classes, label, _LETTERS) for label in labels]
