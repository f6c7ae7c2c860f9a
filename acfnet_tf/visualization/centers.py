"""The class centers of an image among its features (Figure 4, on real features), and those of many images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.heads import COARSE, FINE
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization import center_statistics as statistics
from acfnet_tf.visualization import panels
from acfnet_tf.visualization.feature_scatter import CROSS, Cloud, draw_cloud, name_marked, short_names
from acfnet_tf.visualization.inspection import Inspection, inspector_of, unit_length
from acfnet_tf.visualization.panels import Run

MAX_POINTS = 2000
MAX_CLASSES = 40
"""Of more classes than these, the figures show the largest."""
_NUMBERED = 20
"""Similarities stand in the matrix as numbers up to so many classes."""
_SAME, _OTHERS = "#009E73", "#BBBBBB"
"""Okabe and Ito's green, darker than the grey for everybody."""
_WIDTH, _HEIGHT = 7.2, 6.4
"""Inches: both columns of a paper; without the legend."""


class ImageCenters(NamedTuple):
    """What is kept of an image to compare its class centers with those of others; nan where there is nothing.

    Attributes:
        centers: (N, C'), Eq. 2, of the classes that are present.
        directions: (N, C'), of these the mean of the unit features F' of a class's pixels.
    """

    centers: np.ndarray
    directions: np.ndarray


@panels.styled
def draw_centers(run: Run, picture: Picture, classes: ClassSet) -> Figure:
    """Of one image: segmentation, how alike its class centers are, and its features around them.

    The scatter plots show the plane in which the features drawn in them vary most: at the left F', of which the centers
    are means (Eq. 2); at the right what the last convolution of the fine head is given, with the mean of each class.
    Every point is a position of the feature map, in the colour of its class: that of the truth, or of the fine
    segmentation where there is no truth. Crosses are positions that the coarse head (left) or the fine head (right)
    mislabels; without truth, those at which the two differ.

    Raises:
        UserError: the model has no class centers.
    """
    found = _inspect(run, picture)
    coarse = found.probabilities[COARSE]
    present = statistics.present_classes(coarse)
    shown = _largest(present, coarse.sum(axis=(0, 1)))
    labels, known = _labels(found, picture, len(classes))
    clouds = _clouds(found, labels, known, shown, len(classes))

    figure = panels.close_together(_WIDTH, _HEIGHT, 0.04)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    left, right = upper.subfigures(1, 2, width_ratios=(1, 1.5))
    _draw_pictures(left, run, picture, classes)
    _draw_similarity(right, found.centers[shown], short_names(classes, shown), len(present))
    plots = lower.subplots(1, 2)
    places = [draw_cloud(axes, cloud, classes) for axes, cloud in zip(plots, clouds, strict=True)]
    meaning = "mislabelled position" if known else "position that the heads label differently"
    cross = Line2D([], [], color="black", label=meaning, **CROSS)
    explained = {*shown, *clouds[1].marked, *np.unique(labels[labels >= len(classes)])}
    panels.class_legend(figure, classes, explained, [cross])
    figure.set_figheight(_HEIGHT + figure.legends[0].get_window_extent().height / figure.dpi)
    figure.draw_without_rendering()
    for axes, marked, cloud in zip(plots, places, clouds, strict=True):
        name_marked(axes, marked, cloud, classes)
    return figure


def centers_of(run: Run, picture: Picture, num_classes: int) -> ImageCenters:
    """One image's part in `draw_center_variation`.

    Raises:
        UserError: the model has no class centers.
    """
    found = _inspect(run, picture)
    labels, _ = _labels(found, picture, num_classes)
    units = unit_length(found.class_features)
    centers, directions = np.full((2, *found.centers.shape), np.nan, np.float32)
    for label in statistics.present_classes(found.probabilities[COARSE]):
        centers[label] = found.centers[label]
        if (labels == label).any():
            directions[label] = units[labels == label].mean(axis=0, dtype=np.float32)
    return ImageCenters(centers, directions)


@panels.styled
def draw_center_variation(images: Sequence[ImageCenters], classes: ClassSet) -> Figure:
    """How class centers differ from image to image, and how much better pixels fit the centers of their own image.

    At the left every class center of every image, in the plane in which they vary most, and the mean of each class. At
    the right, for each class, how like the center its pixels are: that of their own image, and the mean center of all
    other images, a prototype that knows nothing of this one. A box is half of the images, from quartile to quartile,
    with their median; whiskers end at the last image within 1.5 times its length.

    The classes of pixels are those of the truth, or of the fine segmentation where there is no truth.

    Raises:
        UserError: there are no two images with a class in common.
    """
    if len(images) < 2:
        raise UserError(f"how class centers vary is seen in two images or more, not in {len(images)}")
    centers = np.stack([image.centers for image in images])
    same, others = statistics.center_similarities(centers, np.stack([image.directions for image in images]))
    occurrences = np.isfinite(same).sum(axis=0)
    shown = _largest(np.flatnonzero(occurrences), occurrences)
    if not shown.size:
        raise UserError(f"none of the {len(images)} images has a class in common with another one")

    figure = Figure((_WIDTH, max(3.6, 1.3 + 0.18 * len(shown))), layout="constrained")
    plot, boxes = figure.subplots(1, 2, width_ratios=(1.2, 1))
    cloud = _center_cloud(centers, shown)
    places = draw_cloud(plot, cloud, classes)
    names = [f"{name} ({count})" for name, count in zip(short_names(classes, shown), occurrences[shown], strict=True)]
    _draw_boxes(boxes, same[:, shown], others[:, shown], names)
    figure.legend(handles=boxes.get_legend_handles_labels()[0], loc="outside lower right")
    figure.draw_without_rendering()
    name_marked(plot, places, cloud, classes)
    return figure


def _clouds(found: Inspection, labels: np.ndarray, known: bool, shown: np.ndarray, num_classes: int) -> list[Cloud]:
    """Before and after the attentional class feature; `known` says whether the labels (h, w) are the truth."""
    valid = labels < num_classes
    labels = labels[valid]
    features = {COARSE: found.class_features[valid], FINE: found.features[FINE][valid]}
    said = {head: probabilities[valid].argmax(axis=-1) for head, probabilities in found.probabilities.items()}
    crossed = {head: said[head] != (labels if known else said[FINE]) for head in said}
    titles = {COARSE: ["features F′ and class centers"], FINE: [f"features before the {FINE} head and class means"]}
    if known:
        for head, title in titles.items():
            title.append(f"{crossed[head].mean():.1%} mislabelled")
            if np.isfinite(ratio := statistics.scatter_ratio(features[head], labels)):
                title[-1] += f"; scatter within ÷ between classes {ratio:.2f}"
        if (wrong := crossed[COARSE]).any():
            right, mistaken = labels[wrong], said[COARSE][wrong]
            nearer = statistics.nearer_to_own(features[COARSE][wrong], found.centers, right, mistaken)
            titles[COARSE].append(f"{nearer:.0%} of the mislabelled are nearer to their own class's center")
            titles[FINE].append("")
    else:
        crossed[FINE] = crossed[COARSE]
    occurring = _largest(np.unique(labels), np.bincount(labels.astype(int)))
    means = np.stack([features[FINE][labels == label].mean(axis=0) for label in occurring])
    marked = {COARSE: (shown, found.centers[shown]), FINE: (occurring, means)}
    drawn = statistics.balanced_choice(labels, MAX_POINTS)
    return [
        Cloud("\n".join(title), features[head][drawn], labels[drawn], crossed[head][drawn], *marked[head])
        for head, title in titles.items()
    ]


def _center_cloud(centers: np.ndarray, shown: np.ndarray) -> Cloud:
    """The centers (images, N, C') of the shown classes in all images, and their means."""
    of_shown = centers[:, shown]
    present = np.isfinite(of_shown[..., 0])
    vectors, labels = of_shown[present], np.broadcast_to(shown, present.shape)[present]
    ratio = statistics.scatter_ratio(vectors, labels)
    title = f"class centers of {len(centers)} images"
    title += f"\nscatter within ÷ between classes {ratio:.2f}" if np.isfinite(ratio) else ""
    return Cloud(title, vectors, labels, np.zeros(len(labels), bool), shown, np.nanmean(of_shown, axis=0))


def _draw_pictures(figure: SubFigure, run: Run, picture: Picture, classes: ClassSet) -> None:
    height, width = picture.size
    count = 2 + (picture.label is not None)
    axes = figure.subplots(*((1, count) if height > width else (count, 1)))
    figure.suptitle(panels.shorten(picture.name, 40), fontsize=8)
    for each in axes:
        each.set_anchor("N")
    panels.show_image(axes[0], picture.image)
    panels.show_labels(axes[1], run.predictor.labels(picture.image, (COARSE,))[COARSE], classes, COARSE)
    if picture.label is not None:
        panels.show_labels(axes[2], picture.label, classes, "truth")


def _draw_similarity(figure: SubFigure, centers: np.ndarray, names: Sequence[str], present: int) -> None:
    """How like each other centers (K, C') are; of `present` classes, these are the largest."""
    similarity, axes = unit_length(centers) @ unit_length(centers).T, figure.subplots()
    drawn = axes.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
    size = min(7, 180 / len(names))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    of = f" (the largest {len(names)} of {present})" if present > len(names) else ""
    axes.set_title(f"similarity of the class centers{of}")
    if len(names) <= _NUMBERED:
        for (row, column), value in np.ndenumerate(similarity):
            number = "1" if value > 0.995 else f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".")
            ink = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, number, ha="center", va="center", fontsize=min(8, 85 / len(names)), color=ink)
    figure.colorbar(drawn, ax=axes, label="cosine similarity", ticks=(-1, -0.5, 0, 0.5, 1), shrink=0.7, aspect=30)


def _draw_boxes(axes: Axes, same: np.ndarray, others: np.ndarray, names: Sequence[str]) -> None:
    """Two boxes for each class, from (images, K) similarities; nan is left out."""
    rows, thin = np.arange(len(names)), {"linewidth": 0.5}
    for whose, values, offset, color in (("own image", same, -0.2, _SAME), ("other images", others, 0.2, _OTHERS)):
        of_class = [column[np.isfinite(column)] for column in values.T]
        axes.boxplot(
            of_class,
            positions=rows + offset,
            widths=0.32,
            orientation="horizontal",
            patch_artist=True,
            label=f"center of the {whose}: {np.mean([column.mean() for column in of_class]):.3f} on average",
            boxprops={"facecolor": color, **thin},
            medianprops={"color": "black", "linewidth": 1.2},
            whiskerprops=thin,
            capprops=thin,
            flierprops={"marker": ".", "markersize": 2, "markeredgecolor": color},
        )
    axes.set_yticks(rows, names)
    nearer = (same > others)[np.isfinite(same)].mean()
    title = f"pixels and the center of their class:\nthat of their own image is nearer in {nearer:.0%} of cases"
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="cosine similarity", title=title)


def _inspect(run: Run, picture: Picture) -> Inspection:
    inspector = inspector_of(run.predictor)
    if inspector.acf is None:
        raise UserError(f"{run.name} has no class centers: they exist in runs with class_feature, for example acf_aspp")
    return inspector(picture.image)


def _labels(found: Inspection, picture: Picture, num_classes: int) -> tuple[np.ndarray, bool]:
    """The class of every position (h, w), and whether the truth says so or the fine head."""
    fine = found.probabilities[FINE]
    if picture.label is not None:
        labels = statistics.labels_of_cells(picture.label, fine.shape[:2], found.grid)
        if (labels < num_classes).any():
            return labels, True
    return fine.argmax(axis=-1), False


def _largest(labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """At most `MAX_CLASSES` of these labels, ascending."""
    return np.sort(labels[np.argsort(-sizes[labels], kind="stable")[:MAX_CLASSES]])
