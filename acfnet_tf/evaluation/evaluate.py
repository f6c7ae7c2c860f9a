"""Intersection over union of every head over a split (Section 4.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from tqdm import tqdm

from acfnet_tf.config import UserError
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.inference.overlap import read_ahead
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    classes: ClassSet,
    *,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, ConfusionMatrix]:
    """Labels every sample, one image at a time at its own size, and counts against its truth.

    Args:
        stop: asked after every image whether to leave out the rest.

    Returns:
        {head: confusion matrix over all samples}, for every head of the model.

    Raises:
        UserError: no samples, or the model has another number of classes.
        DataError: a sample cannot be read.
    """
    if not samples:
        raise UserError("no samples to evaluate")
    if predictor.num_classes != len(classes):
        raise UserError(f"the model has {predictor.num_classes} classes, the data have {len(classes)}")
    matrices = {head: ConfusionMatrix(len(classes), classes.ignore_label) for head in predictor.heads}
    pairs = read_ahead(functools.partial(load_sample, classes=classes), samples)
    for image, label in tqdm(pairs, "Evaluating", len(samples), unit="image", disable=not progress):
        for head, prediction in predictor.labels(image).items():
            matrices[head].update(label, prediction)
        if stop():
            break
    return matrices
