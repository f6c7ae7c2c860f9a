"""Gradients of the paper's blocks against those of their plain forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def gradients_beside_plain(layer: Any, plain: Callable, inputs: Sequence[tf.Tensor], direction: np.ndarray) -> Iterator:
    """The gradients of a layer's inputs, kernel and bias, each beside that of its plain form in float64."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(*inputs) * direction.astype(np.float32))
    actual = tape.gradient(loss, [*inputs, layer.kernel.value, layer.bias.value])
    doubles = [tf.cast(value, tf.float64) for value in (*inputs, layer.kernel, layer.bias)]
    with tf.GradientTape() as tape:
        tape.watch(doubles)
        loss = tf.reduce_sum(plain(*doubles) * direction)
    return zip(actual, tape.gradient(loss, doubles), strict=True)
