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
    weights = np.ones_like(counts)
    present = counts > 0
    # Two pixels at least: the logarithm of one pixel is zero.
    inverse = 1 / np.log(np.maximum(counts[present], 2))
    weights[present] = inverse / inverse.mean() if present.any() else 1
    return weights
