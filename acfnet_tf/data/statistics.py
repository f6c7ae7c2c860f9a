"""Pixels of each class in the masks, for the weights of the class-balanced loss (Section 3.2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from acfnet_tf.data.cityscapes import Sample
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.reading import read_label


def count_pixels(samples: Sequence[Sample], num_classes: int = 19) -> np.ndarray:
    """Pixels of each trainId over all masks; ignored pixels are not counted.

    Returns:
        (num_classes,) int64.

    Raises:
        DataError: a mask is missing or bad.
    """

    def count(sample: Sample) -> np.ndarray:
        if sample.label is None:
            raise DataError(f"{sample.image}: has no mask, so its pixels cannot be counted.")
        return np.bincount(read_label(sample.label).ravel(), minlength=256)[:num_classes]

    total = np.zeros(num_classes, np.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for counts in tqdm(pool.map(count, samples), total=len(samples), desc="Counting label pixels", disable=None):
            total += counts
    return total
