"""What every head gets right over a split, and in every single image: IoU (Section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.inference.overlap import overlapped
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix


class Counts(Protocol):
    """What is counted beside the confusion of classes, over any number of images.

    Attributes:
        counts: integers of any shape; those of several processes may be summed.
    """

    counts: np.ndarray

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Adds an image: (H, W) integers each."""


MakeCounts = Callable[[ClassSet], Counts]


class Evaluation:
    """What was counted over a split; all zeros at the beginning.

    Args:
        images: how many there are.
        make_counts: makes what is counted besides, for each head.

    Attributes:
        matrices: {head: confusion matrix over all images}.
        images: {head: (images, N, 3) int64}, in the order of the samples `ConfusionMatrix.class_pixels` of every image:
            hits, pixels in the truth, pixels predicted (on valid pixels).
        sizes: (images, 2) int64, height and width.
        others: {head: what is counted besides}; empty where that is nothing.
    """

    def __init__(
        self, heads: Sequence[str], classes: ClassSet, images: int, make_counts: MakeCounts | None = None
    ) -> None:
        self._classes = classes
        self.matrices = {head: self._matrix() for head in heads}
        self.images = {head: np.zeros((images, len(classes), 3), np.int64) for head in heads}
        self.sizes = np.zeros((images, 2), np.int64)
        self.others = {head: make_counts(classes) for head in heads} if make_counts else {}

    def count(self, index: int, label: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
        """Adds one image.

        Args:
            index: which one of the samples.
            label: (H, W) integers, the truth.
            predictions: {head: (H, W) integers}.
        """
        self.sizes[index] = label.shape
        for head, prediction in predictions.items():
            of_image = self._matrix()
            of_image.update(label, prediction)
            self.matrices[head].merge(of_image)
            self.images[head][index] = of_image.class_pixels()
            if head in self.others:
                self.others[head].update(label, prediction)

    def _matrix(self) -> ConfusionMatrix:
        return ConfusionMatrix(len(self._classes), self._classes.ignore_label)


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    classes: ClassSet,
    *,
    make_counts: MakeCounts | None = None,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Labels every sample, one image at a time at its own size, and counts against its truth.

    Args:
        make_counts: makes what is counted besides, such as `acfnet_tf.reports.boundary.near_boundaries`.
        stop: asked after every image whether to leave out the rest, which then counts as nothing.

    Returns:
        The counts of every head of the model.

    Raises:
        UserError: no samples, or the model has another number of classes.
        DataError: a sample cannot be read.
    """
    if not samples:
        raise UserError("no samples to evaluate")
    if predictor.num_classes != len(classes):
        raise UserError(f"the model has {predictor.num_classes} classes, the data have {len(classes)}")
    evaluation = Evaluation(predictor.heads, classes, len(samples), make_counts)

    def count(entry: tuple[int, Sample], pair: tuple[np.ndarray, np.ndarray], labels: dict[str, np.ndarray]) -> None:
        evaluation.count(entry[0], pair[1], labels)

    overlapped(
        list(enumerate(samples)),
        lambda entry: load_sample(entry[1], classes),
        lambda pair: predictor.labels(pair[0]),
        count,
        title="Evaluating",
        progress=progress,
        stop=stop,
    )
    return evaluation
