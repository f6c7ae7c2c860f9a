"""Intersection over union of every head over a split (Section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from acfnet_tf.config import UserError
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
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
    pairs = tqdm(_read_ahead(samples, classes), "Evaluating", len(samples), unit="image", disable=not progress)
    for image, label in pairs:
        for head, prediction in predictor.labels(image).items():
            matrices[head].update(label, prediction)
        if stop():
            break
    return matrices


def _read_ahead(samples: Sequence[Sample], classes: ClassSet) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, label) of each sample; the next one is decoded while the model works on this one."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(load_sample, samples[0], classes)
        for sample in samples[1:]:
            pair, following = following.result(), reader.submit(load_sample, sample, classes)
            yield pair
        yield following.result()
