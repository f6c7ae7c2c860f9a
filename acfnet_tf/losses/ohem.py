"""Online bootstrapping, also known as online hard example mining (Section 4.4)."""

from __future__ import annotations

import math

import tensorflow as tf

from acfnet_tf.replicas import replica_sum


def hard_pixels(cross_entropy: tf.Tensor, valid: tf.Tensor, threshold: float, min_kept: tf.Tensor | int) -> tf.Tensor:
    """The pixels that online bootstrapping keeps, chosen over the pixels of all replicas.

    Kept is a valid pixel whose probability of the true class is below `threshold`, and always the `min_kept` hardest:
    all valid pixels where there are fewer, and more where several are exactly as hard as the last.

    Args:
        cross_entropy: (...) float32, −log of the probability of the true class, unweighted.
        valid: (...) bool, pixels that are not ignored.
        threshold: θ, a probability.
        min_kept: K, over the whole global batch.

    Returns:
        (...) bool.
    """
    valid_pixels = replica_sum(tf.math.count_nonzero(valid))
    kept = tf.minimum(tf.cast(min_kept, tf.int64), valid_pixels)
    # Pixels that are not valid rank last; as at most `valid_pixels` are kept they do not move the threshold.
    hardness = tf.where(valid, tf.maximum(cross_entropy, 0.0), 0.0)
    least_hard = tf.minimum(_kth_largest(hardness, kept), tf.constant(-math.log(threshold), tf.float32))
    below_threshold = cross_entropy > -math.log(threshold)
    return valid & (below_threshold | (hardness >= least_hard))


def _kth_largest(values: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """The k-th largest of the non-negative float32 values on all replicas, exactly and without sorting.

    The bits of non-negative floats are ordered like the floats. One histogram of the upper halves of the bits finds the
    upper half of the result, a second one among the values that share it finds the lower half. Only histograms travel
    between replicas.
    """
    bits = tf.bitcast(tf.reshape(values, [-1]), tf.int32)
    upper, lower = tf.bitwise.right_shift(bits, 16), tf.bitwise.bitwise_and(bits, 0xFFFF)
    upper_k, k = _bin_of_kth_largest(tf.math.bincount(upper, minlength=1 << 15, maxlength=1 << 15), k)
    same_upper = tf.cast(upper == upper_k, tf.int32)
    lower_k, _ = _bin_of_kth_largest(tf.math.bincount(lower, same_upper, minlength=1 << 16, maxlength=1 << 16), k)
    return tf.bitcast(tf.bitwise.bitwise_or(tf.bitwise.left_shift(upper_k, 16), lower_k), tf.float32)


def _bin_of_kth_largest(histogram: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The bin that holds the k-th largest value over all replicas, and its rank (from 1) within that bin."""
    histogram = replica_sum(tf.cast(histogram, tf.int64))
    at_least = tf.cumsum(histogram, reverse=True)
    index = tf.maximum(tf.math.count_nonzero(at_least >= k, dtype=tf.int32) - 1, 0)
    return index, k - (at_least[index] - histogram[index])
