"""Boundary metrics count exactly: bands of any width, ignored pixels, predictions that are no class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from acfnet_tf.errors import UserError
from acfnet_tf.reports.boundary import BoundaryCounts

IGNORED = 255


@st.composite
def cases(draw):
    """(number of classes, widths, truth, prediction), where the prediction may hold what is no class."""
    n = draw(st.integers(1, 4))
    widths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    truth = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([*range(n), IGNORED]), fill=st.just(0)))
    prediction = draw(hnp.arrays(np.int64, shape, elements=st.sampled_from([*range(n), n, 255, -1]), fill=st.just(0)))
    return n, widths, truth, prediction


def loop_band(labels: np.ndarray, valid: np.ndarray, width: int) -> np.ndarray:
    """Pixel by pixel, window by window."""
    band = np.zeros(labels.shape, bool)
    for y, x in zip(*np.nonzero(valid), strict=True):
        window = np.s_[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
        band[y, x] = (labels[window] != labels[y, x])[valid[window]].any()
    return band


def loop_iou(first: np.ndarray, second: np.ndarray) -> float:
    union = (first | second).sum()
    return (first & second).sum() / union if union else np.nan


@settings(max_examples=150, deadline=None)
@given(cases())
def test_equals_a_plain_loop(case):
    n, widths, truth, prediction = case
    counts = BoundaryCounts(n, widths)
    counts.update(truth, prediction)
    valid = truth != IGNORED
    shown = np.where((prediction < 0) | (prediction >= n), n, prediction)
    for width in widths:
        of_truth, of_prediction = (loop_band(labels, valid, width) for labels in (truth, shown))
        boundary = [loop_iou((truth == c) & of_truth, (shown == c) & of_prediction) for c in range(n)]
        trimap = [loop_iou((truth == c) & of_truth, (shown == c) & of_truth) for c in range(n)]
        np.testing.assert_array_equal(counts.boundary_iou(width), boundary)
        np.testing.assert_array_equal(counts.trimap_iou(width), trimap)


def test_bands_are_what_erosions_take_away():
    """As the authors of Boundary IoU find them: a segment less d erosions of it by 3 × 3."""
    rng = np.random.default_rng(0)
    truth = ndimage.zoom(rng.integers(0, 3, (6, 9)), 12, order=0).astype(np.uint8)
    widths = (2, 5, 30)
    counts = BoundaryCounts(3, widths)
    counts.update(truth, truth)
    for row, width in enumerate(widths):
        for c in range(3):
            inside = ndimage.binary_erosion(truth == c, np.ones((3, 3)), iterations=width, border_value=1)
            assert counts.counts[row, c, 1] == ((truth == c) & ~inside).sum() > 0


def test_by_hand():
    counts = BoundaryCounts(2, [2, 1, 2])
    counts.update(np.array([[0, 0, 0, 0, 1, 1, 1, 1]], np.uint8), np.array([[0, 0, 0, 1, 1, 1, 1, 1]], np.uint8))
    assert counts.widths == (1, 2)
    # Within 1: columns 3 | 4 in the truth, 2 | 3 in the prediction.
    np.testing.assert_array_equal(counts.boundary_iou(1), [0, 0])
    np.testing.assert_array_equal(counts.trimap_iou(1), [0, 0.5])
    # Within 2: columns 2, 3 | 4, 5 in the truth, 1, 2 | 3, 4 in the prediction.
    np.testing.assert_array_equal(counts.boundary_iou(2), [1 / 3, 1 / 3])
    np.testing.assert_array_equal(counts.trimap_iou(2), [1 / 2, 2 / 3])


def test_a_perfect_prediction_is_one_whatever_it_says_where_the_truth_is_ignored():
    truth = np.random.default_rng(1).integers(0, 4, (20, 30)).astype(np.uint8)
    truth[truth == 3] = IGNORED
    prediction = np.where(truth == IGNORED, np.arange(30, dtype=np.uint8) % 3, truth)
    counts = BoundaryCounts(5, [1, 3])
    counts.update(truth, prediction)
    for width in (1, 3):
        np.testing.assert_array_equal(counts.boundary_iou(width), [1, 1, 1, np.nan, np.nan])
        np.testing.assert_array_equal(counts.trimap_iou(width), [1, 1, 1, np.nan, np.nan])


def test_neither_ignored_pixels_nor_the_frame_are_boundaries():
    truth = np.array([[0, 0, IGNORED, 1, 1]], np.uint8)
    counts = BoundaryCounts(2, [1, 2])
    counts.update(truth, truth)
    assert counts.counts[0].sum() == 0
    np.testing.assert_array_equal(counts.counts[1, :, 1], [1, 1])  # columns 1 and 3 see each other


@pytest.mark.parametrize(
    ("num_classes", "ignored", "predicted_type"),
    [(254, 255, np.uint8), (255, 65_535, np.uint8), (256, 65_535, np.uint8), (1_000, 65_535, np.uint16)],
)
def test_as_many_classes_as_labels_have_room_for(num_classes, ignored, predicted_type):
    last = num_classes - 1
    truth = np.array([[last, last, ignored, 0]], np.uint16)
    counts = BoundaryCounts(num_classes, [1, 2], ignored)
    counts.update(truth, np.array([[last, 0, 0, 0]], predicted_type))
    assert counts.boundary_iou(1)[[0, last]].tolist() == [0, 0]
    assert counts.trimap_iou(2)[[0, last]].tolist() == [0.5, 0]


@pytest.mark.parametrize("width", [0, -3, 1.5])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(UserError, match=r"evaluation\.boundary_widths: .* whole pixels"):
        BoundaryCounts(2, [1, width])


def test_without_widths_nothing_is_counted_but_labels_are_checked():
    counts = BoundaryCounts(2, [])
    counts.update(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8))
    assert counts.counts.shape == (0, 2, 5)
    with pytest.raises(ValueError, match=r"\[2\]"):
        counts.update(np.full((2, 2), 2, np.uint8), np.ones((2, 2), np.uint8))
