"""How similar the features of an image are to those at one pixel, before each head: the paper's Figures 5 and 6."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.heads import FINE, heads_in
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization import panels
from acfnet_tf.visualization.inspection import inspector_of
from acfnet_tf.visualization.panels import Run

_WIDEST = 12
"""Inches of a figure; with more columns than fit, panels become smaller."""
_COLORBAR_WIDTH = 0.7
_LETTERS = 13
"""Letters of a title in an inch."""


@panels.styled
def draw_similarity(
    runs: Sequence[Run], pictures: Sequence[tuple[Picture, tuple[int, int]]], classes: ClassSet
) -> Figure:
    """The cosine similarity of the features at all positions to those at a pixel, above the segmentation made of them.

    Two lines for each pixel: above, the image and a map for each head of each run, the coarse one first; below, the
    truth, where there is one, and the segmentation of each head. A cross marks the pixel everywhere. All maps share one
    range of colours: 0 … 1, or −1 … 1 if a similarity is negative, as features that are not behind a ReLU may have it.

    Args:
        runs: whose features are shown; a baseline has one head.
        pictures: one or more, each with a pixel (x, y) of it. Give those of the same picture one after the
            other: it goes through the networks once.

    Raises:
        UserError: a model is no ACFNet.
    """
    columns = [(run, head) for run in runs for head in heads_in(run.predictor.heads)]
    aspects = np.repeat([picture.size[0] / picture.size[1] for picture, _ in pictures], 2)
    panel_width = min(panels.PANEL_WIDTH, _WIDEST / (1 + len(columns)))
    figure, axes = panels.grid(2 * len(pictures), 1 + len(columns), aspects, panel_width)
    letters = int(_LETTERS * panel_width)

    inspectors = [inspector_of(run.predictor) for run in runs]
    maps, occurring, lines = [], set(), iter(zip(axes[::2], axes[1::2], strict=True))
    for _, same in itertools.groupby(pictures, key=lambda entry: id(entry[0])):
        same = list(same)
        picture = same[0][0]
        inspections = [inspector(picture.image) for inspector in inspectors]
        segmentations = [run.predictor.labels(picture.image) for run in runs]
        shown = [
            (inspection, head, labels[head])
            for inspection, labels in zip(inspections, segmentations, strict=True)
            for head in heads_in(labels)
        ]
        known = segmentations[-1][FINE] if picture.label is None else picture.label
        occurring.update(np.unique(known).tolist(), *(np.unique(labels).tolist() for _, _, labels in shown))
        for _, pixel in same:
            above, below = next(lines)
            panels.show_image(above[0], picture.image, textwrap.fill(_label(pixel, known, picture, classes), letters))
            if picture.label is None:
                below[0].set_axis_off()
                above[0].title.set_visible(False)  # or `fit` would make room for it above both lines
            else:
                panels.show_labels(below[0], picture.label, classes, "truth")
            for upper, lower, (inspection, head, labels) in zip(above[1:], below[1:], shown, strict=True):
                similarity = inspection.similarity(head, pixel)
                maps.append(panels.show_map(upper, similarity, inspection.size, inspection.grid))
                panels.show_labels(lower, labels, classes)
            for panel in (*above, *below):
                if panel.axison:
                    panels.mark(panel, pixel)
    for column, (run, head) in enumerate(columns, start=1):
        axes[0, column].set_title(_title(run, head, len(runs), letters))
        axes[1, column].set_title(f"{head} segmentation" if len(run.predictor.heads) > 1 else "segmentation")
    lowest = 0 if all(drawn.get_array().min() >= 0 for drawn in maps) else -1
    for drawn in maps:
        drawn.set_clim(lowest, 1)
    panels.class_legend(figure, classes, occurring)
    figure.set_figwidth(figure.get_figwidth() + _COLORBAR_WIDTH)
    panels.fit(figure, axes, _COLORBAR_WIDTH)
    for (picture, _), above, below in zip(pictures, axes[::2, 0], axes[1::2, 0], strict=True):
        if picture.label is None:  # then the image stands in the middle of both lines
            upper, lower = above.get_position(original=True), below.get_position(original=True)
            above.set_position(upper.translated(0, (lower.y0 - upper.y0) / 2))
            above.title.set_visible(True)
    _add_colorbar(figure, maps[0], axes[0, -1], axes[1, -1])
    return figure


def _add_colorbar(figure: Figure, drawn: Any, above: Axes, below: Axes) -> None:
    """Beside the first two lines."""
    upper, lower = above.get_position(original=True), below.get_position(original=True)
    gap, width = (inches / figure.get_figwidth() for inches in (0.1, 0.12))
    axes = figure.add_axes((upper.x1 + gap, lower.y0, width, upper.y1 - lower.y0))
    figure.colorbar(drawn, cax=axes, label="cosine similarity")


def _label(pixel: tuple[int, int], labels: np.ndarray, picture: Picture, classes: ClassSet) -> str:
    label = labels[pixel[1], pixel[0]]
    name = panels.class_name(classes, label, 32)
    return f"pixel ({pixel[0]}, {pixel[1]}): {name}" + (" (predicted)" if picture.label is None else "")


def _title(run: Run, head: str, runs: int, letters: int) -> str:
    name = panels.shorten(run.name, letters)
    if len(run.predictor.heads) == 1:
        return name
    return (f"{name}\n" if runs > 1 else "") + f"before the {head} head"
