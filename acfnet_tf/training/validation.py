"""Evaluation that several workers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.training.strategy import Workers


def evaluate_shared(
    workers: Workers,
    predictor: Predictor,
    samples: Sequence[Sample],
    classes: ClassSet,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, ConfusionMatrix] | None:
    """`evaluate` on all samples, of which every worker takes its share; all workers get the sums, which are exact.

    Args:
        stop: asked after every image; where it says yes, on any worker, there is no result.

    Returns:
        {head: confusion matrix over all samples}; None if it was stopped.

    Raises:
        UserError, DataError: as `evaluate`.
    """
    matrices = {head: ConfusionMatrix(len(classes), classes.ignore_label) for head in predictor.heads}
    if share := workers.share(samples):  # there may be fewer images than workers
        matrices = evaluate(predictor, share, classes, progress=workers.is_chief, stop=stop)
    stopped = workers.gather(stop()).any()
    counts = workers.sum(np.stack([matrix.counts for matrix in matrices.values()]))
    for matrix, count in zip(matrices.values(), counts, strict=True):
        matrix.counts = count
    return None if stopped else matrices
