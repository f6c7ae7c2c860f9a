"""The confusion matrix counts exactly and follows the official rules for absent and ignored classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.reports.scores import accuracy_of_images, iou_of_images

N = 4
VALUES = st.sampled_from([0, 1, 2, 3, 255])
PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.uint8, shape, elements=VALUES), hnp.arrays(np.uint8, shape, elements=VALUES))
)


def loop_iou(label: np.ndarray, prediction: np.ndarray) -> list[float]:
    """Pixel by pixel, in plain floats."""
    result = []
    for c in range(N):
        intersection, union = 0.0, 0.0
        for truth, predicted in zip(label.ravel(), prediction.ravel(), strict=True):
            if truth == 255:
                continue
            intersection += truth == c and predicted == c
            union += truth == c or predicted == c
        result.append(float(intersection) / float(union) if union else math.nan)
    return result


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_equals_a_plain_loop(pair):
    label, prediction = pair
    matrix = ConfusionMatrix(N)
    matrix.update(label, prediction)
    expected = loop_iou(label, prediction)
    np.testing.assert_array_equal(matrix.iou(), expected)
    finite = [value for value in expected if not math.isnan(value)]
    assert matrix.mean_iou() == pytest.approx(sum(finite) / len(finite) if finite else math.nan, rel=1e-15, nan_ok=True)
    valid = label != 255
    accuracy = (label == prediction)[valid].mean() if valid.any() else math.nan
    assert matrix.pixel_accuracy() == pytest.approx(accuracy, rel=1e-15, nan_ok=True)
    assert matrix.counts.sum() == valid.sum()


@settings(max_examples=30, deadline=None)
@given(PAIRS, PAIRS)
def test_merge_is_one_matrix_over_all_images(first, second):
    together, one, other = ConfusionMatrix(N), ConfusionMatrix(N), ConfusionMatrix(N)
    for matrix, pairs in ((together, (first, second)), (one, (first,)), (other, (second,))):
        for label, prediction in pairs:
            matrix.update(label, prediction)
    one.merge(other)
    np.testing.assert_array_equal(one.counts, together.counts)


def test_scores_of_single_images_are_those_of_their_matrices():
    rng = np.random.default_rng(0)
    matrices = [ConfusionMatrix(N) for _ in range(4)]
    for matrix, classes in zip(matrices, (4, 2, 1), strict=False):  # the last one is of an image that is all ignored
        matrix.update(*rng.integers(0, classes, (2, 5, 7)).astype(np.uint8))
    counts = np.stack([matrix.class_pixels() for matrix in matrices])
    assert counts.shape == (4, N, 3) and counts.dtype == np.int64
    np.testing.assert_allclose(iou_of_images(counts), [matrix.mean_iou() for matrix in matrices], rtol=1e-15)
    np.testing.assert_array_equal(accuracy_of_images(counts), [matrix.pixel_accuracy() for matrix in matrices])


def test_rows_are_truth_and_columns_prediction():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 0, 1]], np.uint8), np.array([[0, 2, 1]], np.uint8))
    np.testing.assert_array_equal(matrix.counts, [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    assert matrix.counts.dtype == np.int64


def test_absent_and_never_predicted_is_nan_and_left_out_of_the_mean():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1]], np.uint8), np.array([[0, 1]], np.uint8))
    np.testing.assert_array_equal(matrix.iou(), [1.0, 1.0, np.nan])
    assert matrix.mean_iou() == 1.0


def test_absent_but_predicted_is_zero_and_counted():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1]], np.uint8), np.array([[0, 2]], np.uint8))
    np.testing.assert_array_equal(matrix.iou(), [1.0, 0.0, 0.0])
    assert matrix.mean_iou() == pytest.approx(1 / 3)


def test_absent_and_predicted_on_ignored_pixels_only_is_nan():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 255]], np.uint8), np.array([[0, 2]], np.uint8))
    np.testing.assert_array_equal(matrix.iou(), [1.0, np.nan, np.nan])


def test_a_void_prediction_is_a_miss():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 0]], np.uint8), np.array([[0, 255]], np.uint8))
    np.testing.assert_array_equal(matrix.iou(), [0.5, np.nan])
    assert matrix.pixel_accuracy() == 0.5


def test_nothing_counted_is_nan():
    matrix = ConfusionMatrix(2)
    assert math.isnan(matrix.mean_iou())
    assert math.isnan(matrix.pixel_accuracy())


def test_counts_beyond_what_float32_and_int32_hold():
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0] = 2**40
    matrix.update(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    assert matrix.counts[0, 0] == 2**40 + 1


def test_refuses_different_sizes_and_unknown_labels():
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match="shape"):
        matrix.update(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match=r"\[3, 200\]"):
        matrix.update(np.array([[0, 3, 200]], np.uint8), np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="merge"):
        matrix.merge(ConfusionMatrix(4))
    assert matrix.counts.sum() == 0
