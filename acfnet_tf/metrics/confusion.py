"""Exact confusion matrix and the IoU that the Cityscapes benchmark computes from it (Section 4.2).

The rules are those of `cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling`: pixels whose truth is ignored
count nowhere; a prediction that is no class (void) on a valid pixel is a miss of the true class.
"""

from __future__ import annotations

import numpy as np


class ConfusionMatrix:
    """Pixel counts over any number of images, in int64.

    Args:
        num_classes: number of classes N; labels are 0 … N−1.
        ignore_label: truth value of the pixels that are left out.

    Attributes:
        counts: (N, N+1) int64; row = truth, column = prediction. The last column holds predictions outside 0 … N−1.

    Example:
        >>> matrix = ConfusionMatrix(num_classes=2)
        >>> matrix.update(label=np.array([[0, 1, 255]]), prediction=np.array([[0, 0, 1]]))
        >>> matrix.iou()
        array([0.5, 0. ])
    """

    def __init__(self, num_classes: int, ignore_label: int = 255) -> None:
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Adds the pixels of one image.

        Args:
            label: (H, W) integers, the truth.
            prediction: (H, W) integers.

        Raises:
            ValueError: the sizes differ, or the truth holds a value that is neither a class nor `ignore_label`.
        """
        n = self.num_classes
        valid = valid_pixels(label, prediction, n, self.ignore_label)
        truth = label[valid].astype(np.int64)
        predicted = prediction[valid].astype(np.int64)
        predicted[(predicted < 0) | (predicted >= n)] = n
        self.counts += np.bincount(truth * (n + 1) + predicted, minlength=n * (n + 1)).reshape(n, n + 1)

    def merge(self, other: ConfusionMatrix) -> None:
        """Adds the counts of another matrix, of other images.

        Raises:
            ValueError: the number of classes differs.
        """
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot merge matrices of {self.num_classes} and {other.num_classes} classes")
        self.counts += other.counts

    def class_pixels(self) -> np.ndarray:
        """Of each class: hits, pixels in the truth, pixels predicted (on valid pixels); (N, 3) int64."""
        predicted = self.counts[:, : self.num_classes].sum(axis=0)
        return np.stack([np.diagonal(self.counts), self.counts.sum(axis=1), predicted], axis=-1)

    def iou(self) -> np.ndarray:
        """Intersection over union of each class, (N,) float64.

        A class that is neither in the truth nor predicted is nan; one that is in one of them only is 0.
        """
        return ious(*self.class_pixels().T)

    def mean_iou(self) -> float:
        """Mean IoU over the classes that are not nan; nan where there are none."""
        values = [value for value in self.iou().tolist() if value == value]
        total = 0.0
        for value in values:  # The official script adds them in this order; `np.mean` may differ in the last bit.
            total += value
        return total / len(values) if values else float("nan")

    def pixel_accuracy(self) -> float:
        """Fraction of the valid pixels that are predicted right; nan where there are none."""
        pixels = int(self.counts.sum())
        return int(np.trace(self.counts)) / pixels if pixels else float("nan")


def ious(hits: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Intersection over union from pixel counts of one shape; nan where there is neither truth nor prediction."""
    return ratio(hits, truth + predicted - hits)


def valid_pixels(label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_label: int) -> np.ndarray:
    """Which pixels count; (H, W) bool.

    Raises:
        ValueError: as `ConfusionMatrix.update`.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"label has shape {label.shape}, prediction {prediction.shape}")
    valid = label != ignore_label
    unknown = np.unique(label[valid & ((label < 0) | (label >= num_classes))])
    if unknown.size:
        raise ValueError(
            f"label values {unknown.tolist()} are neither a class (0–{num_classes - 1}) nor ignored ({ignore_label})"
        )
    return valid


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
