"""Online bootstrapping, also known as online hard example mining (Section 4.4)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from acfnet_tf.replicas import replica_sum


class Kept(NamedTuple):
    """Which pixels of a global batch count for the loss of a head.

    Attributes:
        hardness: () float32; the pixels that are at least so hard.
        pixels: () float32; how many they are, over all replicas.
    """

    hardness: tf.Tensor
    pixels: tf.Tensor


def pixel_hardness(cross_entropy: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """How hard pixels are, (...) float32 in [0, ∞]; −1 for those that are ignored.

    No pixel is harder than one that is not a number: it is always kept, so that the loss says so too.

    Args:
        cross_entropy: (...) float32, −log of the probability of the true class, unweighted.
        valid: (...) bool, pixels that are not ignored.
    """
    hardness = tf.where(tf.math.is_nan(cross_entropy), np.float32("inf"), tf.maximum(cross_entropy, 0.0))
    return tf.where(valid, hardness, -1.0)


def hardest_pixels(hardness: tf.Tensor, threshold: float, min_kept: int) -> Kept:
    """The pixels that online bootstrapping keeps, chosen over the pixels of all replicas.

    Kept is a valid pixel whose probability of the true class is below `threshold`, and always the `min_kept` hardest:
    all valid pixels where there are fewer, and more where several are exactly as hard as the last.

    Args:
        hardness: (...) as `pixel_hardness` gives it, of this replica's part of the global batch.
        threshold: θ, a probability.
        min_kept: K, over the whole global batch.
    """
    k = tf.minimum(tf.constant(min_kept, tf.float64), count_over_replicas(hardness >= 0))
    # Ignored pixels rank last; as K is at most the number of valid ones, they do not move the threshold.
    kth_largest = tf.where(k > 0, _kth_largest(tf.maximum(hardness, 0.0), k), np.float32("inf"))
    below_threshold = np.nextafter(np.float32(-math.log(threshold)), np.float32("inf"))
    below_threshold = max(below_threshold, np.finfo(np.float32).tiny)  # Some processors take smaller numbers for 0.
    least = tf.minimum(kth_largest, below_threshold)
    return Kept(least, tf.cast(count_over_replicas(hardness >= least), tf.float32))


def count_over_replicas(values: tf.Tensor) -> tf.Tensor:
    """How many of the values are true, on all replicas: () float64, which counts exactly and has kernels on GPUs."""
    return replica_sum(tf.reduce_sum(tf.cast(values, tf.float64)))


def _kth_largest(values: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """The k-th largest of the non-negative float32 values on all replicas, exactly and without sorting.

    The bits of non-negative floats are ordered like the floats. One histogram of the upper halves of the bits finds the
    upper half of the result, a second one among the values that share it finds the lower half. Only histograms travel
    between replicas. Sums over segments make them, which XLA compiles, and GPUs have, for float64. Whole numbers are
    int64: TensorFlow keeps int32 in the host's memory, which a GPU would be awaited for.
    """
    bits = tf.cast(tf.bitcast(tf.reshape(values, [-1]), tf.int32), tf.int64)
    upper, lower = tf.bitwise.right_shift(bits, 16), tf.bitwise.bitwise_and(bits, 0xFFFF)
    upper_k, k = _bin_of_kth_largest(upper, tf.ones_like(upper, tf.float64), 1 << 15, k)
    same_upper = tf.cast(upper == upper_k, tf.float64)
    lower_k, _ = _bin_of_kth_largest(lower, same_upper, 1 << 16, k)
    return tf.bitcast(tf.cast(upper_k * (1 << 16) + lower_k, tf.int32), tf.float32)


def _bin_of_kth_largest(bins: tf.Tensor, counted: tf.Tensor, size: int, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The bin that holds the k-th largest value over all replicas, and its rank (from 1) within that bin.

    Args:
        bins: (n,) int64, the bin of every value.
        counted: (n,) float64, 1 for the values that count and 0 for others.
        size: number of bins.
        k: () float64.
    """
    histogram = tf.reshape(replica_sum(tf.math.unsorted_segment_sum(counted, bins, size)), [-1, 256])
    # In two stages, as XLA takes the square of the length for a cumulative sum.
    row, k = _place_of_kth_largest(tf.reduce_sum(histogram, axis=1), k)
    column, k = _place_of_kth_largest(tf.gather(histogram, row), k)
    return row * 256 + column, k


def _place_of_kth_largest(histogram: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """As `_bin_of_kth_largest`, for a short histogram: (n,) float64."""
    at_least = tf.cumsum(histogram, reverse=True)
    index = tf.maximum(tf.reduce_sum(tf.cast(at_least >= k, tf.int64)) - 1, 0)
    above = tf.reduce_max(tf.where(at_least < k, at_least, 0.0))  # XLA compiles it far sooner than at_least[index + 1]
    return index, k - above
