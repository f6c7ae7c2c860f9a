"""Image, truth and what each network says, side by side (the paper's Figure 7), and where its two heads differ."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from enum import IntEnum

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.visualization.figure import (
    ABOVE_CAPTIONS,
    CAPTION_SIZE,
    Picture,
    Run,
    caption,
    class_legend,
    fit,
    grid,
    shorten,
    show_image,
    show_labels,
    styled,
)


class Change(IntEnum):
    """What the fine head made of a pixel that the coarse head had labelled."""

    SAME = 0
    CORRECTED = 1
    SPOILT = 2
    BOTH_WRONG = 3
    """Differently wrong."""
    DIFFERENT = 4
    """There is no truth to tell which head is right."""
    IGNORED = 5


CHANGE_NAMES = {
    Change.CORRECTED: "corrected by fine",
    Change.SPOILT: "spoilt by fine",
    Change.BOTH_WRONG: "both wrong",
    Change.DIFFERENT: "different",
}
CHANGE_COLORS = {
    Change.CORRECTED: "#0072B2",
    Change.SPOILT: "#D55E00",
    Change.BOTH_WRONG: "#404040",
    Change.DIFFERENT: "#CC79A7",
}
"""Blue, vermillion and purple of Okabe and Ito's palette, which colour-blind people tell apart, and a dark grey."""

_PALETTE = np.uint8([np.multiply(to_rgb(CHANGE_COLORS.get(kind, "black")), 255) for kind in Change])
_LETTERS = 30
"""In a line of a title."""
_HIGHEST = 2.0
"""Height / width of a row; portraits that are longer leave a margin at their sides."""


def changes(coarse: np.ndarray, fine: np.ndarray, truth: np.ndarray | None, ignore_label: int) -> np.ndarray:
    """Where two heads differ, and which of them is right.

    Args:
        coarse: (H, W) labels.
        fine: (H, W) labels.
        truth: (H, W) labels, or None.
        ignore_label: of the pixels of the truth that count nowhere.

    Returns:
        (H, W) uint8 of `Change`.
    """
    different = coarse != fine
    if truth is None:
        return np.where(different, Change.DIFFERENT, Change.SAME).astype(np.uint8)
    right = [fine == truth, coarse == truth]
    found = np.select(right, [Change.CORRECTED, Change.SPOILT], Change.BOTH_WRONG)
    return np.select([truth == ignore_label, different], [Change.IGNORED, found], Change.SAME).astype(np.uint8)


def change_shares(codes: np.ndarray) -> dict[Change, float]:
    """{kind of change: its share 0 … 1 of the pixels that are not ignored}, for the kinds of `CHANGE_NAMES`."""
    counts = np.bincount(codes.ravel(), minlength=len(Change))
    pixels = codes.size - counts[Change.IGNORED]
    return {kind: counts[kind] / max(1, pixels) for kind in CHANGE_NAMES}


def paint_changes(image: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Changes in `CHANGE_COLORS` on the image (H, W, 3) uint8, which is made grey and pale; (H, W, 3) uint8."""
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    pale = (255 - (255 - grey) * 0.3).astype(np.uint8)
    return np.where(np.isin(codes, list(CHANGE_NAMES))[..., None], _PALETTE[codes], pale)


@styled
def draw_results(runs: Sequence[Run], pictures: Sequence[Picture], classes: ClassSet) -> Figure:
    """A row for each picture: image, truth, and of each run coarse and fine segmentation, and where they differ.

    A run without coarse head has one column, under its name. The truth has a column where any picture has one; its
    ignored pixels are black, and count in no share. Below are the classes that occur.

    Raises:
        UserError: no pictures.
    """
    if not pictures:
        raise UserError("no pictures to draw")
    has_truth = any(picture.truth is not None for picture in pictures)
    titles = ["image", *["truth"] * has_truth, *(title for run in runs for title in _titles(run, len(runs) > 1))]
    aspects = [min(picture.image.shape[0] / picture.image.shape[1], _HIGHEST) for picture in pictures]
    figure, axes = grid(len(pictures), len(titles), aspects)
    occurring: set[int] = set()
    for row, picture in zip(axes, pictures, strict=True):
        panels = iter(row)
        show_image(next(panels), picture.image)
        if has_truth:
            _show_truth(next(panels), picture.truth, classes)
        found = [run.predictor.labels(picture.image) for run in runs]
        for labels in found:
            for head in _heads(labels):
                show_labels(next(panels), labels[head], classes)
            if len(labels) > 1:
                _show_changes(next(panels), picture, labels["coarse"], labels["fine"], classes.ignore_label)
        known = [labels for by_head in found for labels in by_head.values()]
        known += [] if picture.truth is None else [picture.truth]
        occurring.update(label for labels in known for label in np.unique(labels).tolist())
        if len(pictures) > 1:
            caption(row[0], picture.name)
    differ = any(len(_heads(run.predictor.heads)) > 1 for run in runs)
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, pad=ABOVE_CAPTIONS if differ or len(pictures) > 1 else 4)
    kinds = {kind: None for picture in pictures for kind in _kinds(picture) if differ}
    patches = [Patch(facecolor=CHANGE_COLORS[kind], label=CHANGE_NAMES[kind]) for kind in kinds]
    class_legend(figure, classes, occurring, patches)
    fit(figure, axes)
    return figure


def _titles(run: Run, several: bool) -> list[str]:
    """Of a run's columns, which name it where there are several runs or it has one column only."""
    name, heads = shorten(run.name, 2 * _LETTERS), _heads(run.predictor.heads)
    if len(heads) == 1:
        return [textwrap.fill(name, _LETTERS)]
    titles = [*heads, "coarse ≠ fine"]
    if not several:
        return titles
    fits = all(len(f"{name} {title}") <= _LETTERS for title in titles)
    return [f"{name} {title}" if fits else f"{textwrap.fill(name, _LETTERS)}\n{title}" for title in titles]


def _heads(found: Collection[str]) -> list[str]:
    return [head for head in ("coarse", "fine") if head in found]


def _show_truth(axes: Axes, truth: np.ndarray | None, classes: ClassSet) -> None:
    if truth is None:
        axes.set_axis_off()
    else:
        show_labels(axes, truth, classes)


def _show_changes(axes: Axes, picture: Picture, coarse: np.ndarray, fine: np.ndarray, ignore_label: int) -> None:
    codes = changes(coarse, fine, picture.truth, ignore_label)
    show_image(axes, paint_changes(picture.image, codes))
    shares = change_shares(codes)
    handles = [Patch(facecolor=CHANGE_COLORS[kind], label=f"{100 * shares[kind]:.1f} %") for kind in _kinds(picture)]
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "borderpad": 0, "borderaxespad": 0.4}
    axes.legend(handles=handles, ncols=len(handles), fontsize=CAPTION_SIZE, handlelength=1, columnspacing=1.5, **place)


def _kinds(picture: Picture) -> list[Change]:
    """Those that its changes can be of."""
    return [Change.DIFFERENT] if picture.truth is None else [Change.CORRECTED, Change.SPOILT, Change.BOTH_WRONG]
