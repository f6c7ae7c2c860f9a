"""Fields of binary headers, read in TensorFlow operations.

A file is (bytes,) uint8 with `PADDING` zeros behind it, so that what lies behind the end of a damaged file reads as 0.
"""

from __future__ import annotations

import tensorflow as tf

PADDING = 16


def padded(data: tf.Tensor) -> tf.Tensor:
    return tf.concat([data, tf.zeros([PADDING], tf.uint8)], axis=0)


def starts(data: tf.Tensor, at: tf.Tensor | int, expected: bytes) -> tf.Tensor:
    """Whether these bytes, `PADDING` at most, stand there; () bool."""
    return tf.reduce_all(_part(data, at, len(expected)) == tf.constant(list(expected), tf.uint8))


def number(data: tf.Tensor, at: tf.Tensor | int, size: int, big_endian: tf.Tensor | bool = True) -> tf.Tensor:
    """The unsigned number of `size` bytes that stands there, () int64."""
    return numbers(_part(data, at, size), big_endian)


def numbers(digits: tf.Tensor, big_endian: tf.Tensor | bool = True) -> tf.Tensor:
    """(…, size) uint8 to unsigned numbers, (…) int64."""
    falling = tf.constant([256**power for power in reversed(range(digits.shape[-1]))], tf.int64)
    weights = tf.where(big_endian, falling, falling[::-1])
    return tf.reduce_sum(tf.cast(digits, tf.int64) * weights, axis=-1)


def _part(data: tf.Tensor, at: tf.Tensor | int, size: int) -> tf.Tensor:
    begin = tf.minimum(tf.cast(at, tf.int64), tf.size(data, tf.int64) - PADDING)
    return tf.ensure_shape(data[begin : begin + size], (size,))
