"""The figures of errors show the numbers of the confusion matrix, for any number of classes and heads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.importers.colors import default_colors, numbered_classes
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.reports.scores import iou_of_images
from acfnet_tf.visualization.confusions import (
    draw_boundary_curves,
    draw_class_bars,
    draw_comparison,
    draw_confusion,
    largest_confusions,
    rank_images,
)
from acfnet_tf.visualization.panels import to_array


def matrix_of(counts: list[list[int]]) -> ConfusionMatrix:
    """From rows of N predicted classes and "no class"."""
    matrix = ConfusionMatrix(len(counts))
    matrix.counts = np.array(counts, np.int64)
    return matrix


def tick_names(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def cells(figure) -> dict[tuple[str, str], str]:
    """{(truth, predicted): what is written in the cell}."""
    axes = figure.axes[0]
    rows, columns = tick_names(axes.yaxis), tick_names(axes.xaxis)
    texts = [(text.get_position(), text.get_text()) for text in axes.texts]
    return {(rows[int(y)], columns[int(x)]): text for (x, y), text in texts}


CLASSES = ClassSet(("road", "sky", "car"), default_colors(3), {})


def test_confusion_in_percent_of_the_truth():
    figure = draw_confusion(matrix_of([[90, 10, 0, 0], [0, 1000, 1, 0], [3, 0, 1, 0]]), CLASSES)
    assert cells(figure) == {
        ("road", "road"): "90",
        ("road", "sky"): "10",
        ("sky", "sky"): "100",  # 0.1 % of it for car is not written
        ("car", "road"): "75",
        ("car", "car"): "25",
    }


def test_confusion_of_absent_classes_and_no_class():
    figure = draw_confusion(matrix_of([[6, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]]), CLASSES)
    assert cells(figure) == {("road", "road"): "75", ("road", "no class"): "25"}
    figure = draw_confusion(matrix_of([[6, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]), CLASSES)
    assert cells(figure) == {("road", "road"): "75", ("road", "sky"): "25"}
    assert tick_names(figure.axes[0].yaxis) == ["road", "sky"]
    assert "grey: not in the truth" in figure.axes[0].get_xlabel()  # the row of sky


def test_of_many_classes_the_most_confused_are_drawn():
    counts = np.zeros((150, 151), np.int64)
    np.fill_diagonal(counts, 1000)
    counts[np.arange(0, 50, 2), np.arange(1, 50, 2)] = 100 + np.arange(25)  # pairs (0, 1), (2, 3) … (48, 49)
    figure = draw_confusion(matrix_of(counts.tolist()), numbered_classes(150))
    rows = tick_names(figure.axes[0].yaxis)
    assert len(rows) == 25 and set(rows) <= {f"class_{index}" for index in range(24, 50)}
    assert tick_names(figure.axes[0].xaxis) == [*rows, "125 other classes"]
    assert "25 of 150 classes" in figure.axes[0].get_xlabel()
    assert figure.get_figwidth() < 12


def test_class_bars_from_best_to_worst():
    coarse, fine = matrix_of([[5, 5, 0, 0], [5, 5, 0, 0], [0] * 4]), matrix_of([[5, 5, 0, 0], [0, 10, 0, 0], [0] * 4])
    figure = draw_class_bars({"fine": fine, "coarse": coarse}, CLASSES)
    axes = figure.axes[0]
    assert tick_names(axes.yaxis) == ["sky", "road"]  # car does not occur
    widths = {bars.get_label().split()[0]: [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths["coarse"] == pytest.approx([100 / 3, 100 / 3])
    assert widths["fine"] == pytest.approx([200 / 3, 50])
    assert [text.get_text() for text in axes.texts] == ["+33.3", "+16.7", "fine − coarse"]


def test_class_bars_of_one_head_and_of_many_classes():
    figure = draw_class_bars({"fine": matrix_of(np.eye(150, 151, dtype=int).tolist())}, numbered_classes(150))
    assert len(figure.axes[0].containers) == 1 and not figure.axes[0].texts
    assert figure.get_figheight() / 150 > 0.15  # inches for a name
    assert to_array(figure, dpi=20).shape[0] > 400


def test_nothing_is_counted_where_all_pixels_are_ignored():
    for figure in (draw_confusion(ConfusionMatrix(3), CLASSES), draw_class_bars({"fine": ConfusionMatrix(3)}, CLASSES)):
        assert [text.get_text() for text in figure.texts] == ["no pixels: all are ignored in the masks"]


def test_boundary_curves_in_order_of_width():
    boundary = {"fine": {str(width): {"boundary_iou": width / 100, "trimap_iou": None} for width in (3, 10, 1)}}
    left, right = draw_boundary_curves(boundary).axes
    assert left.lines[0].get_xydata().tolist() == [[1, 1], [3, 3], [10, 10]]
    assert np.isnan(right.lines[0].get_ydata()).all()


def test_comparison_has_an_interval_for_each_class():
    def entry(low, difference, high):
        return {"low": low, "difference": difference, "high": high}

    compared = {
        "mean_iou": entry(-0.01, 0.01, 0.03),
        "iou": {"road": entry(-0.4, -0.3, -0.2), "sky": entry(0.1, 0.2, 0.3), "car": entry(None, None, None)},
    }
    axes = draw_comparison(compared).axes[0]
    assert tick_names(axes.yaxis) == ["mean", "sky", "road"]
    drawn = {tuple(np.round(line.get_xdata(), 6)) for line in axes.lines}
    assert {(-1, 3), (10, 30), (-40, -20)} <= drawn
    filled = [line.get_markerfacecolor() != "white" for line in axes.lines if line.get_marker() in "oD"]
    assert filled == [False, True, True]


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_images_are_ranked_from_worst_to_best(images, num_classes, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, (images, num_classes, 3))
    counts[..., 0] = counts.min(axis=-1)
    ranked, values = rank_images(counts), iou_of_images(counts)
    assert sorted(ranked) == np.flatnonzero(~np.isnan(values)).tolist()
    assert all(values[a] <= values[b] for a, b in itertools.pairwise(ranked))


def test_largest_confusions_by_share():
    matrix = matrix_of([[90, 10, 0, 0], [0, 9, 0, 1], [3, 0, 1, 0]])
    assert largest_confusions(matrix) == [(2, 0, 3, 0.75), (0, 1, 10, 0.1)]
    assert largest_confusions(matrix, 1) == [(2, 0, 3, 0.75)]
