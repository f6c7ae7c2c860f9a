"""The class centers of an image among its features (Figure 4, on real features), and those of many images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.visualization.center_statistics import (
    CenterVariation,
    balanced_choice,
    labels_of_cells,
    nearer_to_own,
    present_classes,
    scatter_ratio,
)
from acfnet_tf.visualization.feature_scatter import CROSS, Cloud, draw_cloud, name_marked, short_names
from acfnet_tf.visualization.figure import Picture, Run, class_legend, shorten, show_image, show_labels, styled
from acfnet_tf.visualization.inspection import Inspection, Inspector, inspector_of, unit_length

MAX_POINTS = 2000
MAX_CLASSES = 40
"""Of more classes than these, the figures show the largest."""
_NUMBERED = 20
"""Similarities stand in the matrix as numbers up to so many classes."""
_OWN, _OTHERS = "#009E73", "#BBBBBB"
"""Okabe and Ito's green, darker than the grey for everybody."""
_WIDTH, _HEIGHT = 7.2, 6.4
"""Inches: both columns of a paper; without the legend."""


@styled
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
    found = _inspector(run)(picture.image)
    coarse = found.probabilities["coarse"]
    present = present_classes(coarse)
    shown = _largest(present, coarse.sum(axis=(0, 1)))
    labels, known = _labels(found, picture, len(classes))
    clouds = _clouds(found, labels, known, shown, len(classes))

    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.02, hspace=0.02)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    left, right = upper.subfigures(1, 2, width_ratios=(1, 1.5))
    _draw_pictures(left, run, picture, classes)
    _draw_similarity(right, found.centers[shown], short_names(classes, shown), len(present))
    plots = lower.subplots(1, 2)
    places = [draw_cloud(axes, cloud, classes) for axes, cloud in zip(plots, clouds, strict=True)]
    meaning = "mislabelled position" if known else "position that the heads label differently"
    cross = Line2D([], [], color="black", label=meaning, **CROSS)
    explained = {*shown, *clouds[1].marked, *np.unique(labels[labels >= len(classes)])}
    class_legend(figure, classes, explained, [cross])
    figure.set_figheight(_HEIGHT + figure.legends[0].get_window_extent().height / figure.dpi)
    figure.draw_without_rendering()
    for axes, marked, cloud in zip(plots, places, clouds, strict=True):
        name_marked(axes, marked, cloud, classes)
    return figure


@styled
def draw_center_variation(run: Run, pictures: Iterable[Picture], classes: ClassSet) -> Figure:
    """How class centers differ from image to image, and how much better pixels fit the centers of their own image.

    At the left every class center of every image, in the plane in which they vary most, and the mean of each class. At
    the right, for each class, how like the center its pixels are: that of their own image, and the mean center of all
    other images, a prototype that knows nothing of this one. A box is half of the images, from quartile to quartile,
    with their median; whiskers end at the last image within 1.5 times its length.

    The classes of pixels are those of the truth, or of the fine segmentation where there is no truth.

    Args:
        pictures: gone through once; only a few vectors of each are kept.

    Raises:
        UserError: the model has no class centers, or there are no two pictures with a class in common.
    """
    inspector, variation = _inspector(run), CenterVariation(len(classes))
    for picture in pictures:
        found = inspector(picture.image)
        labels, _ = _labels(found, picture, len(classes))
        variation.add(found.class_features, found.centers, present_classes(found.probabilities["coarse"]), labels)
    images = len(variation.centers)
    if images < 2:
        raise UserError(f"how class centers vary is seen in two images or more, not in {images}")
    own, others = variation.similarities()
    occurrences = np.isfinite(own).sum(axis=0)
    shown = _largest(np.flatnonzero(occurrences), occurrences)
    if not shown.size:
        raise UserError(f"none of the {images} images has a class in common with another one")

    figure = Figure((_WIDTH, max(3.6, 1.3 + 0.18 * len(shown))), layout="constrained")
    plot, boxes = figure.subplots(1, 2, width_ratios=(1.2, 1))
    cloud = _center_cloud(variation, shown)
    places = draw_cloud(plot, cloud, classes)
    names = [f"{name} ({count})" for name, count in zip(short_names(classes, shown), occurrences[shown], strict=True)]
    _draw_boxes(boxes, own[:, shown], others[:, shown], names)
    figure.legend(handles=boxes.get_legend_handles_labels()[0], loc="outside lower right")
    figure.draw_without_rendering()
    name_marked(plot, places, cloud, classes)
    return figure


def _clouds(found: Inspection, labels: np.ndarray, known: bool, shown: np.ndarray, num_classes: int) -> list[Cloud]:
    """Before and after the attentional class feature.

    Args:
        labels: (h, w).
        known: whether they are the truth.
        shown: the classes (K,) whose centers are shown.
    """
    valid = labels < num_classes
    labels = labels[valid]
    features = {"coarse": found.class_features[valid], "fine": found.features["fine"][valid]}
    said = {head: probabilities[valid].argmax(axis=-1) for head, probabilities in found.probabilities.items()}
    crossed = {head: said[head] != (labels if known else said["fine"]) for head in said}
    titles = {"coarse": ["features F′ and class centers"], "fine": ["features before the fine head and class means"]}
    if known:
        for head, title in titles.items():
            title.append(f"{crossed[head].mean():.1%} mislabelled")
            if np.isfinite(ratio := scatter_ratio(features[head], labels)):
                title[-1] += f"; scatter within ÷ between classes {ratio:.2f}"
        if (wrong := crossed["coarse"]).any():
            own = nearer_to_own(features["coarse"][wrong], found.centers, labels[wrong], said["coarse"][wrong])
            titles["coarse"].append(f"{own:.0%} of the mislabelled are nearer to their own class's center")
            titles["fine"].append("")
    else:
        crossed["fine"] = crossed["coarse"]
    occurring = _largest(np.unique(labels), np.bincount(labels.astype(int)))
    means = np.stack([features["fine"][labels == label].mean(axis=0) for label in occurring])
    marked = {"coarse": (shown, found.centers[shown]), "fine": (occurring, means)}
    drawn = balanced_choice(labels, MAX_POINTS)
    return [
        Cloud("\n".join(title), features[head][drawn], labels[drawn], crossed[head][drawn], *marked[head])
        for head, title in titles.items()
    ]


def _center_cloud(variation: CenterVariation, shown: np.ndarray) -> Cloud:
    """The centers of all images, and their means."""
    found = [(label, vector) for centers in variation.centers for label, vector in centers.items() if label in shown]
    labels, centers = np.array([label for label, _ in found]), np.stack([vector for _, vector in found])
    ratio = scatter_ratio(centers, labels)
    title = f"class centers of {len(variation.centers)} images"
    title += f"\nscatter within ÷ between classes {ratio:.2f}" if np.isfinite(ratio) else ""
    means = np.stack([centers[labels == label].mean(axis=0) for label in shown])
    return Cloud(title, centers, labels, np.zeros(len(labels), bool), shown, means)


def _draw_pictures(figure: SubFigure, run: Run, picture: Picture, classes: ClassSet) -> None:
    height, width = picture.image.shape[:2]
    count = 2 + (picture.truth is not None)
    axes = figure.subplots(*((1, count) if height > width else (count, 1)))
    figure.suptitle(shorten(picture.name, 40), fontsize=8)
    for each in axes:
        each.set_anchor("N")
    show_image(axes[0], picture.image)
    show_labels(axes[1], run.predictor.labels(picture.image, ("coarse",))["coarse"], classes, "coarse")
    if picture.truth is not None:
        show_labels(axes[2], picture.truth, classes, "truth")


def _draw_similarity(figure: SubFigure, centers: np.ndarray, names: Sequence[str], present: int) -> None:
    """
    Args:
        centers: (K, C').
        names: (K,).
        present: so many classes there are, of which these are the largest.
    """
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


def _draw_boxes(axes: Axes, own: np.ndarray, others: np.ndarray, names: Sequence[str]) -> None:
    """Two boxes for each class, from (images, K) similarities; nan is left out."""
    rows, thin = np.arange(len(names)), {"linewidth": 0.5}
    for whose, values, offset, color in (("own image", own, -0.2, _OWN), ("other images", others, 0.2, _OTHERS)):
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
    nearer = (own > others)[np.isfinite(own)].mean()
    title = f"pixels and the center of their class:\nthat of their own image is nearer in {nearer:.0%} of cases"
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="cosine similarity", title=title)


def _inspector(run: Run) -> Inspector:
    inspector = inspector_of(run.predictor.model)
    if inspector.acf is None:
        raise UserError(f"{run.name} has no class centers: they exist in runs with class_feature, for example acf_aspp")
    return inspector


def _labels(found: Inspection, picture: Picture, num_classes: int) -> tuple[np.ndarray, bool]:
    """The class of every position (h, w), and whether the truth says so or the fine head."""
    fine = found.probabilities["fine"]
    if picture.truth is not None:
        labels = labels_of_cells(picture.truth, fine.shape[:2], found.grid)
        if (labels < num_classes).any():
            return labels, True
    return fine.argmax(axis=-1), False


def _largest(labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """At most `MAX_CLASSES` of these labels, ascending."""
    return np.sort(labels[np.argsort(-sizes[labels], kind="stable")[:MAX_CLASSES]])
