"""Evaluation that several workers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation, MakeCounts, evaluate
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.training.workers import Workers


def evaluate_shared(
    workers: Workers,
    predictor: Predictor,
    samples: Sequence[Sample],
    classes: ClassSet,
    make_counts: MakeCounts | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """`evaluate` on all samples, of which every worker takes its part; all workers get the sums, which are exact.

    Args:
        stop: asked after every image; where it says yes, on any worker, there is no result.

    Returns:
        The counts over all samples; None if it was stopped.

    Raises:
        UserError, DataError: as `evaluate`.
    """
    whole = Evaluation(predictor.heads, classes, len(samples), make_counts)
    if mine := workers.part_of(samples):  # There may be fewer images than workers.
        part = evaluate(predictor, mine, classes, make_counts=make_counts, progress=workers.is_chief, stop=stop)
        whole.matrices, whole.others = part.matrices, part.others
        workers.part_of(whole.sizes)[:] = part.sizes
        for head, counts in part.images.items():
            workers.part_of(whole.images[head])[:] = counts
    stopped = workers.gather(stop()).any()
    _sum_in_place(workers, whole)
    return None if stopped else whole


def _sum_in_place(workers: Workers, evaluation: Evaluation) -> None:
    """Every count becomes its sum over the workers, by a single exchange."""
    tables = [
        *(matrix.counts for matrix in evaluation.matrices.values()),
        *(other.counts for other in evaluation.others.values()),
        *evaluation.images.values(),
        evaluation.sizes,
    ]
    sums = workers.sum(np.concatenate([table.ravel() for table in tables]))
    ends = np.cumsum([table.size for table in tables])
    for table, total in zip(tables, np.split(sums, ends[:-1]), strict=True):
        table[...] = total.reshape(table.shape)
