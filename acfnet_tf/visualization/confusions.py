"""Where a network errs: which classes it confuses, how far the heads and two runs differ, how well segments end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.heads import COARSE, FINE, heads_in
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.reports.scores import iou_of_images
from acfnet_tf.tables import points
from acfnet_tf.visualization.panels import BLUE, HEAD_COLORS, ORANGE, class_name, shorten, styled

MAX_CONFUSED = 25
"""A confusion matrix is drawn of no more classes than these."""
_SHARES = "Blues"
_NAME_LENGTH = 28


class Confusion(NamedTuple):
    """Pixels of the class `truth` that were predicted as `predicted`; share: of all pixels of `truth`."""

    truth: int
    predicted: int
    pixels: int
    share: float


def rank_images(counts: np.ndarray) -> list[int]:
    """Indices of images, the lowest mean IoU first; images without any class are left out.

    Args:
        counts: (images, N, 3), a head's of `Evaluation.images`.
    """
    values = iou_of_images(counts)
    return [index for index in np.argsort(values, kind="stable").tolist() if values[index] == values[index]]


def largest_confusions(matrix: ConfusionMatrix, count: int = 10) -> list[Confusion]:
    """The pairs of classes with the largest share of the true class's pixels, the largest first."""
    pixels = matrix.counts.sum(axis=1)
    wrong = matrix.counts[:, : matrix.num_classes].copy()
    np.fill_diagonal(wrong, 0)
    shares = wrong / np.maximum(pixels, 1)[:, None]
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    pairs = (np.unravel_index(index, shares.shape) for index in order)
    return [Confusion(int(t), int(p), int(wrong[t, p]), float(shares[t, p])) for t, p in pairs if wrong[t, p]]


@styled
def draw_confusion(matrix: ConfusionMatrix, classes: ClassSet, title: str = "") -> Figure:
    """The confusion matrix: which share (percent) of each true class's pixels was predicted as which class.

    Rows add up to 100. Classes that neither occur nor are predicted are left out; of more than `MAX_CONFUSED`, those
    with the most wrong pixels (missed, or taken for theirs) are drawn, the rest in one column. Rows of classes that do
    not occur are grey. The colours follow the square root of the share, so that rare confusions can be seen.
    """
    n, counts = matrix.num_classes, matrix.counts
    truth, predicted, hits = counts.sum(axis=1), counts[:, :n].sum(axis=0), np.diagonal(counts)
    present = np.flatnonzero(truth + predicted)
    if not present.size:
        return _nothing_counted()
    wrong = truth + predicted - 2 * hits
    shown = np.sort(present[np.argsort(-wrong[present], kind="stable")[:MAX_CONFUSED]])
    rest = np.setdiff1d(present, shown)
    names = [class_name(classes, index, _NAME_LENGTH) for index in shown]
    cells, columns = counts[np.ix_(shown, shown)], list(names)
    more = {f"{len(rest)} other classes": counts[np.ix_(shown, rest)].sum(axis=1)} if rest.size else {}
    more |= {"no class": counts[shown, n]} if counts[:, n].any() else {}
    for name, column in more.items():
        cells, columns = np.column_stack([cells, column]), [*columns, name]
    pixels = np.broadcast_to(truth[shown, None], cells.shape)
    shares = np.divide(100 * cells, pixels, out=np.full(cells.shape, np.nan), where=pixels > 0)

    notes = ["share of the true class's pixels, %"]
    notes += [f"the {len(shown)} of {len(present)} classes with the most wrong pixels"] if rest.size else []
    notes += ["grey: not in the truth"] if not truth[shown].all() else []
    figure = Figure((max(3.6, 0.3 * len(columns) + 2.4), max(2.6, 0.3 * len(names) + 1.7)), layout="constrained")
    axes = figure.subplots()
    norm = PowerNorm(0.5, 0, 100)
    colors = matplotlib.colormaps[_SHARES].with_extremes(bad="#d9d9d9")
    drawn = axes.imshow(np.ma.masked_invalid(shares), cmap=colors, norm=norm, aspect="equal")
    for (row, column), share in np.ndenumerate(shares):
        if share >= 1:
            color = "white" if norm(share) > 0.6 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=6.5, color=color)
    axes.set_ylabel("truth")
    axes.set_title(title, wrap=True)
    axes.set_xlabel("predicted\n" + "\n".join(notes))
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=2)
    bar = figure.colorbar(drawn, ax=axes, ticks=[0, 1, 5, 10, 25, 50, 75, 100], fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    return figure


@styled
def draw_class_bars(matrices: Mapping[str, ConfusionMatrix], classes: ClassSet) -> Figure:
    """The IoU of every class, the best first: coarse against fine head, with their difference, and their means.

    Classes that neither occur nor are predicted are left out.

    Args:
        matrices: {head: confusion matrix}, "fine" at least.
    """
    heads = heads_in(matrices)
    iou = {head: 100 * matrices[head].iou() for head in heads}
    occurring = np.flatnonzero(~np.isnan(np.stack(list(iou.values()))).all(axis=0))
    if not occurring.size:
        return _nothing_counted()
    order = occurring[np.argsort(-np.nan_to_num(iou[FINE][occurring]), kind="stable")]
    figure = Figure((6.4, 1.1 + 0.2 * max(len(order), 2)), layout="constrained")
    axes = figure.subplots()
    places, height = np.arange(len(order)), 0.8 / len(heads)
    for index, head in enumerate(heads):
        mean, color = 100 * matrices[head].mean_iou(), HEAD_COLORS[head]
        shift = (index - (len(heads) - 1) / 2) * height
        label = f"{head} (dashed: mean, {mean:.1f})" if len(heads) > 1 else f"dashed: mean, {mean:.1f}"
        axes.barh(places + shift, iou[head][order], height, color=color, label=label)
        axes.axvline(mean, color=color, linestyle="--", linewidth=1, zorder=0)
    axes.set_yticks(places, [class_name(classes, index, _NAME_LENGTH) for index in order])
    axes.set(xlabel="IoU, %", xlim=(0, 100), ylim=(len(order) - 0.4, -0.6))
    axes.tick_params("y", length=0)
    if len(heads) > 1:
        right = axes.get_yaxis_transform()
        for place, difference in zip(places, (iou[FINE] - iou[COARSE])[order], strict=True):
            axes.text(1.09, place, points(difference / 100, 1), transform=right, ha="right", va="center", fontsize=7)
        axes.text(1.09, -0.8, f"{FINE} − {COARSE}", transform=right, ha="right", va="bottom", fontsize=7)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@styled
def draw_boundary_curves(boundary: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Mean boundary IoU and mean trimap IoU against the width of the band around boundaries.

    Args:
        boundary: {head: {width: {"boundary_iou": share, "trimap_iou": share}}}, as in evaluation.json.
    """
    figure = Figure((6.4, 2.6), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for axes, (key, name) in zip(both, (("boundary_iou", "boundary IoU"), ("trimap_iou", "trimap IoU")), strict=True):
        for head in heads_in(boundary):
            widths = sorted(boundary[head], key=int)
            values = [_percent(boundary[head][width][key]) for width in widths]
            style = {"marker": "o" if head == FINE else "s", "color": HEAD_COLORS[head], "label": head}
            axes.plot([int(width) for width in widths], values, **style)
        axes.set(title=f"mean {name}, %", xlabel="width of the band, pixels", xticks=[int(width) for width in widths])
        axes.grid(axis="y", alpha=0.3)
    if len(boundary) > 1:
        both[0].legend()
    return figure


@styled
def draw_comparison(compared: Mapping[str, Any], title: str = "") -> Figure:
    """Differences in IoU between two runs with their 95 % intervals, the mean first, then from gain to loss.

    Intervals that exclude 0 are drawn with filled points in colour, others with hollow grey ones.

    Args:
        compared: {"mean_iou": {"difference", "low", "high"}, "iou": {class: same}} of one head, as in evaluation.json;
            classes without a difference are left out.
    """
    rows = [
        (shorten(name, _NAME_LENGTH, f"class {index}"), row)
        for index, (name, row) in enumerate(compared["iou"].items())
        if row["difference"] is not None
    ]
    entries = [("mean", compared["mean_iou"]), *sorted(rows, key=lambda row: -row[1]["difference"])]
    figure = Figure((6.4, 1.0 + 0.2 * len(entries)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=0.8)
    for place, (_, entry) in enumerate(entries):
        difference, low, high = (_percent(entry[key]) for key in ("difference", "low", "high"))
        color = (BLUE if difference > 0 else ORANGE) if excludes_zero(entry) else "#767676"
        face = color if excludes_zero(entry) else "white"
        axes.plot([low, high], [place, place], color=color, linewidth=1.4)
        axes.plot(difference, place, "D" if place == 0 else "o", color=color, markerfacecolor=face, markersize=5)
    axes.axhline(0.5, color="black", linewidth=0.4)
    axes.set_yticks(range(len(entries)), [name for name, _ in entries])
    axes.set(xlabel="difference in IoU, points", ylim=(len(entries) - 0.4, -0.6))
    axes.set_title(title, wrap=True)
    axes.tick_params("y", length=0)
    axes.grid(axis="x", alpha=0.3)
    return figure


def excludes_zero(entry: Mapping[str, float | None]) -> bool:
    """Whether the interval "low" … "high" of a difference lies on one side of 0."""
    low, high = entry["low"], entry["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _nothing_counted() -> Figure:
    figure = Figure((3.6, 0.6))
    figure.text(0.5, 0.5, "no pixels: all are ignored in the masks", ha="center", va="center")
    return figure


def _percent(share: float | None) -> float:
    return np.nan if share is None else 100 * share
