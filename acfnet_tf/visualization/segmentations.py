"""Image, truth and what each network says, side by side (the paper's Figure 7), and where its two heads differ."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.heads import heads_in
from acfnet_tf.pictures import Picture
from acfnet_tf.tables import percent
from acfnet_tf.visualization import changes, panels
from acfnet_tf.visualization.panels import Run

_LETTERS = 30
"""In a line of a title."""
_HIGHEST = 2.0
"""Height / width of a row; portraits that are longer leave a margin at their sides."""


@panels.styled
def draw_results(runs: Sequence[Run], pictures: Sequence[Picture], classes: ClassSet) -> Figure:
    """A row for each picture: image, truth, and of each run coarse and fine segmentation, and where they differ.

    A run without coarse head has one column, under its name. The truth has a column where any picture has one; its
    ignored pixels are black, and count in no share. Below are the classes that occur.

    Raises:
        UserError: no pictures.
    """
    if not pictures:
        raise UserError("no pictures to draw")
    has_truth = any(picture.label is not None for picture in pictures)
    titles = ["image", *["truth"] * has_truth, *(title for run in runs for title in _titles(run, len(runs) > 1))]
    aspects = [min(picture.size[0] / picture.size[1], _HIGHEST) for picture in pictures]
    figure, axes = panels.grid(len(pictures), len(titles), aspects)
    occurring, kinds = set[int](), {}
    for row, picture in zip(axes, pictures, strict=True):
        free = iter(row)
        panels.show_image(next(free), picture.image)
        if picture.label is not None:
            occurring.update(np.unique(picture.label).tolist())
            panels.show_labels(next(free), picture.label, classes)
        elif has_truth:
            next(free).set_axis_off()
        for run in runs:
            labels = run.predictor.labels(picture.image)
            for head in heads_in(labels):
                occurring.update(np.unique(labels[head]).tolist())
                panels.show_labels(next(free), labels[head], classes)
            if found := changes.find_changes(labels, picture.label, classes.ignore_label):
                _show_changes(next(free), found, picture.image)
                kinds |= dict.fromkeys(found.kinds)
        if len(pictures) > 1:
            panels.caption(row[0], picture.name)
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, pad=panels.ABOVE_CAPTIONS if kinds or len(pictures) > 1 else 4)
    panels.class_legend(figure, classes, occurring, _patches(kinds, map(changes.NAMES.get, kinds)))
    panels.fit(figure, axes)
    return figure


def _titles(run: Run, several: bool) -> list[str]:
    """The titles of a run's columns, which name it where there are several runs or it has one column only."""
    name, heads = panels.shorten(run.name, 2 * _LETTERS), heads_in(run.predictor.heads)
    if len(heads) == 1:
        return [textwrap.fill(name, _LETTERS)]
    titles = [*heads, changes.TITLE]
    if not several:
        return titles
    fits = all(len(f"{name} {title}") <= _LETTERS for title in titles)
    return [f"{name} {title}" if fits else f"{textwrap.fill(name, _LETTERS)}\n{title}" for title in titles]


def _show_changes(axes: Axes, found: changes.Changes, image: np.ndarray) -> None:
    panels.show_image(axes, found.painted(image))
    handles = _patches(found.kinds, (f"{percent(share)} %" for share in found.shares))
    style = {"fontsize": panels.CAPTION_SIZE, "handlelength": 1, "columnspacing": 1.5, "borderaxespad": 0.4}
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "borderpad": 0}
    axes.legend(handles=handles, ncols=len(handles), **style, **place)


def _patches(kinds: Iterable[int], labels: Iterable[str]) -> list[Patch]:
    return [Patch(facecolor=changes.COLORS[kind], label=label) for kind, label in zip(kinds, labels, strict=True)]
