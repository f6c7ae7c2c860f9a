"""How far two runs differ on the same images, and how much of it the choice of images explains.

The difference of two IoUs has an interval by the paired percentile bootstrap: as many images as there are get drawn,
with replacement; both runs are measured on them; the middle 95 % of the differences are the interval. What is measured
is always the IoU of all drawn images together, from summed pixels, never a mean over images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from acfnet_tf.errors import UserError
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.heads import heads_in
from acfnet_tf.metrics.confusion import ious
from acfnet_tf.reports.scores import mean_over_classes

CONFIDENCE = 0.95
RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 500


def compare(name: str, first: Evaluation, second: Evaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """What `evaluation.json` says of a comparison, for all heads that both runs have.

    Args:
        name: of the first run, the one that the second is compared with.
        first, second: of the same images in the same order.

    Returns:
        {"with": {"name": …}, "intervals": how they were made, "heads": {head: as `compare_head`}}.

    Raises:
        UserError: as `compare_head`.
    """
    heads = heads_in(first.matrices.keys() & second.matrices.keys())
    return {
        "with": {"name": name},
        "intervals": {"method": "paired bootstrap over images", "confidence": CONFIDENCE, "resamples": RESAMPLES},
        "heads": {head: compare_head(first, second, class_names, head) for head in heads},
    }


def compare_head(first: Evaluation, second: Evaluation, class_names: Sequence[str], head: str) -> dict[str, Any]:
    """The differences of one head, second − first, with their intervals; deterministic.

    A class that neither occurs nor is predicted in a resample is left out of it.

    Returns:
        {"mean_iou": {"first", "second", "difference", "low", "high"}, "iou": {class: the same}}, in 0 … 1 and −1 … 1;
        None for what does not exist.

    Raises:
        UserError: the evaluations are of different images.
    """
    counts = [each.images[head] for each in (first, second)]
    if not np.array_equal(counts[0][..., 1], counts[1][..., 1]):  # pixels in the truth
        raise UserError("the two runs were evaluated on different images or masks, and cannot be compared")
    drawn = np.concatenate(list(_resampled_ious(np.stack(counts))))  # (RESAMPLES, 2, N)
    low, high = _interval(drawn[:, 1] - drawn[:, 0])
    means = mean_over_classes(drawn)
    mean_low, mean_high = _interval(means[:, 1:] - means[:, :1])
    rows = [each.matrices[head].iou() for each in (first, second)]
    totals = [each.matrices[head].mean_iou() for each in (first, second)]
    return {
        "mean_iou": _row(*totals, mean_low[0], mean_high[0]),
        "iou": {name: _row(*row) for name, *row in zip(class_names, *rows, low, high, strict=True)},
    }


def _resampled_ious(counts: np.ndarray) -> Iterator[np.ndarray]:
    """IoU of every class of both runs on images drawn with replacement.

    Args:
        counts: (2, images, N, 3) of both runs, as `Evaluation.images`.

    Yields:
        (some resamples, 2, N) float64; nan for classes that vanish.
    """
    _, images, classes, _ = counts.shape
    # Sums of whole numbers below 2^53 are exact in float64, in whatever order a library adds them.
    table = np.moveaxis(counts, 1, 0).reshape(images, -1).astype(np.float64)
    rng = np.random.default_rng(0)
    for start in range(0, RESAMPLES, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, RESAMPLES - start)
        times_drawn = rng.multinomial(images, np.full(images, 1 / images), size)
        sums = (times_drawn @ table).reshape(size, 2, classes, 3)
        yield ious(*np.moveaxis(sums, -1, 0))


def _interval(differences: np.ndarray) -> np.ndarray:
    """The bounds of each column, (2, columns), without nan; nan where there is nothing else.

    Args:
        differences: (resamples, columns).
    """
    bounds = np.full((2, differences.shape[1]), np.nan)
    exists = ~np.isnan(differences).all(axis=0)
    outside = (1 - CONFIDENCE) / 2
    bounds[:, exists] = np.nanquantile(differences[:, exists], (outside, 1 - outside), axis=0)
    return bounds


def _row(first: float, second: float, low: float, high: float) -> dict[str, float | None]:
    values = {"first": first, "second": second, "difference": second - first, "low": low, "high": high}
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}
