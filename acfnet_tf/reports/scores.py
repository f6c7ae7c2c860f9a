"""Scores of single images and means over classes, from counts."""

from __future__ import annotations

import numpy as np

from acfnet_tf.metrics.confusion import ious, ratio


def mean_over_classes(iou: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the classes that are not nan, (…, N) → (…,) float64; nan where there are none."""
    return ratio(np.nansum(iou, axis=-1), (~np.isnan(iou)).sum(axis=-1))


def iou_of_images(counts: np.ndarray) -> np.ndarray:
    """Mean IoU of each image, over the classes that occur in it or are predicted.

    Args:
        counts: (images, N, 3) integers, `ConfusionMatrix.class_pixels` of every image.

    Returns:
        (images,) float64; nan for an image without valid pixels.
    """
    return mean_over_classes(ious(*np.moveaxis(counts, -1, 0)))


def accuracy_of_images(counts: np.ndarray) -> np.ndarray:
    """Fraction of each image's valid pixels that are predicted right; arguments and result as of `iou_of_images`."""
    hits, truth, _ = np.moveaxis(counts, -1, 0)
    return ratio(hits.sum(axis=1), truth.sum(axis=1))
