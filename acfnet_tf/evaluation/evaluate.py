"""What every head gets right over a split: IoU (Section 4.2), boundaries, single images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.inference.overlap import overlapped
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.boundary import BoundaryCounts
from acfnet_tf.metrics.confusion import ConfusionMatrix


@dataclass
class Evaluation:
    """What was counted over a split.

    Attributes:
        matrices: {head: confusion matrix over all images}.
        boundaries: {head: counts near boundaries over all images}; without widths, there is nothing in them.
        images: {head: (images, N, 3) int64}, in the order of the samples `ConfusionMatrix.class_pixels` of every image:
            hits, pixels in the truth, pixels predicted (on valid pixels).
    """

    matrices: dict[str, ConfusionMatrix]
    boundaries: dict[str, BoundaryCounts]
    images: dict[str, np.ndarray]

    @classmethod
    def of_nothing(
        cls, heads: Sequence[str], classes: ClassSet, images: int, boundary_widths: Sequence[int] = ()
    ) -> Evaluation:
        """All zeros, for this many images.

        Raises:
            UserError: a width is not a positive whole number.
        """
        size, ignore_label = len(classes), classes.ignore_label
        return cls(
            {head: ConfusionMatrix(size, ignore_label) for head in heads},
            {head: BoundaryCounts(size, boundary_widths, ignore_label) for head in heads},
            {head: np.zeros((images, size, 3), np.int64) for head in heads},
        )

    def count(self, index: int, label: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
        """Adds one image.

        Args:
            index: which one of the samples.
            label: (H, W) integers, the truth.
            predictions: {head: (H, W) integers}.
        """
        for head, prediction in predictions.items():
            own = ConfusionMatrix(self.matrices[head].num_classes, self.matrices[head].ignore_label)
            own.update(label, prediction)
            self.matrices[head].merge(own)
            self.images[head][index] = own.class_pixels()
            self.boundaries[head].update(label, prediction)


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    classes: ClassSet,
    *,
    boundary_widths: Sequence[int] = (),
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Labels every sample, one image at a time at its own size, and counts against its truth.

    Args:
        boundary_widths: how many pixels from a boundary boundaries are measured, for each measurement; see
            `BoundaryCounts`.
        stop: asked after every image whether to leave out the rest, which then counts as nothing.

    Returns:
        The counts of every head of the model.

    Raises:
        UserError: no samples, the model has another number of classes, or a width is not a positive whole number.
        DataError: a sample cannot be read.
    """
    if not samples:
        raise UserError("no samples to evaluate")
    if predictor.num_classes != len(classes):
        raise UserError(f"the model has {predictor.num_classes} classes, the data have {len(classes)}")
    evaluation = Evaluation.of_nothing(predictor.heads, classes, len(samples), boundary_widths)

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
