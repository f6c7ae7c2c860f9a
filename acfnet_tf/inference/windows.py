"""Where the windows of sliding-window inference lie."""

from __future__ import annotations

import math

import tensorflow as tf


def window_starts(size: tf.Tensor | int, window: int, overlap: float) -> tf.Tensor:
    """First pixel of every window along one axis.

    Windows follow one another by ceil(window · (1 − overlap)) pixels; the last one is moved back to end flush with the
    border. An axis that is not longer than the window has one window, as long as the axis.

    Args:
        size: () int32, pixels of the axis.
        window: pixels of a window.
        overlap: fraction of a window that the next one covers again, in [0, 1).

    Returns:
        (number of windows,) int32.
    """
    # It is rounded, since 1 − 0.9 is a little more than a tenth.
    stride = max(1, math.ceil(round(window * (1 - overlap), 6)))
    last = tf.maximum(size - window, 0)
    count = (last + stride - 1) // stride + 1
    return tf.minimum(tf.range(count) * stride, last)


def coverage(starts: tf.Tensor, window: int, size: tf.Tensor | int) -> tf.Tensor:
    """How many windows each pixel of an axis lies in.

    Returns:
        (size,) float32.
    """
    pixels = tf.range(size)[:, None]
    return tf.reduce_sum(tf.cast((starts <= pixels) & (pixels < starts + window), tf.float32), axis=1)
