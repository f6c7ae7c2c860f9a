"""Differences of two runs and their intervals are those of a plain bootstrap over images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from acfnet_tf.errors import UserError
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.reports import comparison
from acfnet_tf.reports.comparison import compare, compare_head

CLASSES = numbered_classes(4)


def masks(images: int, seed: int = 0, classes: int = 3) -> np.ndarray:
    """(images, 6, 8) labels; the last of the classes is rare."""
    rng = np.random.default_rng(seed)
    return np.minimum(rng.geometric(0.5, (images, 6, 8)) - 1, classes - 1).astype(np.uint8)


def evaluated(truth: np.ndarray, wrong: float, seed: int = 1, heads: tuple[str, ...] = ("fine",)) -> Evaluation:
    """Of predictions of which a share is one of the first two classes, whatever the truth."""
    rng = np.random.default_rng(seed)
    evaluation = Evaluation(heads, CLASSES, len(truth))
    for index, label in enumerate(truth):
        prediction = np.where(rng.random(label.shape) < wrong, rng.integers(0, 2, label.shape), label)
        evaluation.count(index, label, dict.fromkeys(heads, prediction))
    return evaluation


def slow_bootstrap(first: Evaluation, second: Evaluation, times_drawn: np.ndarray) -> np.ndarray:
    """Differences of mIoU and of every class's IoU, one resample after the other, (resamples, 1 + N)."""
    rows = []
    for times in times_drawn:
        scores = []
        for evaluation in (first, second):
            hits, truth, predicted = sum(k * c for k, c in zip(times, evaluation.images["fine"], strict=True)).T
            matrix = ConfusionMatrix(len(CLASSES))
            np.fill_diagonal(matrix.counts, hits)
            matrix.counts[:, -1] = truth - hits  # a miss, whatever was predicted instead
            union = truth + predicted - hits
            iou = [h / u if u else np.nan for h, u in zip(hits, union, strict=True)]
            scores.append([np.mean([value for value in iou if value == value]), *iou])
        rows.append(np.subtract(scores[1], scores[0]))
    return np.array(rows)


def test_equals_a_slow_bootstrap(monkeypatch):
    monkeypatch.setattr(comparison, "RESAMPLES", 150)
    monkeypatch.setattr(comparison, "_RESAMPLES_AT_ONCE", 40)
    truth = masks(6)
    truth[1:][truth[1:] == 2] = 1  # a class that vanishes where the first image is not drawn
    first, second = evaluated(truth, 0.5), evaluated(truth, 0.2)
    result = compare_head(first, second, CLASSES.names, "fine")
    rng = np.random.default_rng(0)
    slow = slow_bootstrap(first, second, np.concatenate([rng.multinomial(6, [1 / 6] * 6, 40) for _ in range(4)])[:150])
    expected = [np.quantile(column[~np.isnan(column)], (0.025, 0.975)) for column in slow.T[:4]]
    rows = [result["mean_iou"], *result["iou"].values()]
    np.testing.assert_allclose([(row["low"], row["high"]) for row in rows[:4]], expected, rtol=1e-12)
    assert rows[4] == dict.fromkeys(("first", "second", "difference", "low", "high"))  # never there: nothing but None
    for values, evaluation in ((result["mean_iou"]["first"], first), (result["mean_iou"]["second"], second)):
        assert values == evaluation.matrices["fine"].mean_iou()


def test_a_consistent_gain_is_told_from_none_and_the_other_way_round():
    truth = masks(30)
    worse, better = evaluated(truth, 0.5), evaluated(truth, 0.2)
    gain, loss = (compare_head(*pair, CLASSES.names, "fine") for pair in ((worse, better), (better, worse)))
    for row in (gain["mean_iou"], gain["iou"]["class_0"], gain["iou"]["class_2"]):
        assert 0 < row["low"] < row["difference"] < row["high"]
        assert row["difference"] == row["second"] - row["first"]
    assert loss["mean_iou"]["high"] == pytest.approx(-gain["mean_iou"]["low"])
    chance = compare_head(worse, evaluated(truth, 0.5, seed=2), CLASSES.names, "fine")["mean_iou"]
    assert chance["low"] < 0 < chance["high"]


def test_a_run_and_itself_do_not_differ():
    evaluation = evaluated(masks(5), 0.4)
    result = compare_head(evaluation, evaluation, CLASSES.names, "fine")
    for row in (result["mean_iou"], result["iou"]["class_1"]):
        assert row["difference"] == row["low"] == row["high"] == 0


def test_one_image_leaves_nothing_to_chance():
    truth = masks(1)
    row = compare_head(evaluated(truth, 0.5), evaluated(truth, 0.1), CLASSES.names, "fine")["mean_iou"]
    assert row["low"] == pytest.approx(row["difference"]) and row["high"] == pytest.approx(row["difference"])


def test_the_whole_comparison_is_json_of_the_heads_that_both_have_and_always_the_same():
    truth = masks(4)
    first, second = evaluated(truth, 0.5), evaluated(truth, 0.2, heads=("fine", "coarse"))
    result = compare("baseline", first, second, CLASSES.names)
    assert result["with"] == {"name": "baseline"}
    assert list(result["heads"]) == ["fine"]
    assert json.dumps(result, allow_nan=False) == json.dumps(compare("baseline", first, second, CLASSES.names))


@pytest.mark.parametrize("other", [masks(4, seed=9), masks(5)])
def test_other_images_are_refused(other):
    with pytest.raises(UserError, match="different images"):
        compare_head(evaluated(masks(4), 0.5), evaluated(other, 0.5), CLASSES.names, "fine")
