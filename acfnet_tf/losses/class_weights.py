"""Weights of the class-balanced cross entropy (Section 3.2)."""

from __future__ import annotations

import numpy as np

CITYSCAPES_CLASS_WEIGHTS = (
    0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
    0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)  # fmt: skip
"""1 / log(pixel count) with mean 1, road … bicycle, as the OCNet and HRNet lineage uses them for Cityscapes."""


def inverse_log_weights(pixel_counts: np.ndarray) -> np.ndarray:
    """1 / log(pixel count), scaled to mean 1 over the classes that occur; a class that does not occur has weight 1.

    Args:
        pixel_counts: (N,) pixels of every class in the training labels.

    Returns:
        (N,) float64.
    """
    counts = np.asarray(pixel_counts, np.float64)
    # At least two pixels are counted, as the logarithm of one is zero.
    return _mean_one(1 / np.log(np.maximum(counts, 2)), counts > 0)


def enet_weights(pixel_counts: np.ndarray) -> np.ndarray:
    """1 / ln(1.02 + fraction of the pixels), as in ENet (Paszke et al., 2016), scaled as in `inverse_log_weights`."""
    counts = np.asarray(pixel_counts, np.float64)
    return _mean_one(1 / np.log(1.02 + counts / max(counts.sum(), 1)), counts > 0)


def median_frequency_weights(pixel_counts: np.ndarray, image_pixels: np.ndarray) -> np.ndarray:
    """Median of the classes' frequencies / frequency (Eigen and Fergus, 2015), scaled as in `inverse_log_weights`.

    Args:
        pixel_counts: (N,) pixels of every class in the training labels.
        image_pixels: (N,) labelled pixels of all images in which the class occurs.
    """
    counts = np.asarray(pixel_counts, np.float64)
    # The median itself is a common factor, which the scaling takes out again.
    return _mean_one(np.asarray(image_pixels, np.float64) / np.maximum(counts, 1), counts > 0)


def weights_from_counts(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """All kinds of counted weights by name, each (N,), from the pixels of each class in each image, (images, N)."""
    total, labelled = pixels.sum(axis=0), pixels.sum(axis=1)
    return {
        "inverse_log": inverse_log_weights(total),
        "enet": enet_weights(total),
        "median_frequency": median_frequency_weights(total, labelled @ (pixels > 0)),
    }


def _mean_one(weights: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The weights, scaled to mean 1 over the classes that are present; 1 for the others."""
    return np.where(present, weights / weights[present].mean(), 1.0) if present.any() else np.ones_like(weights)
