"""BatchNorm over the global batch with its activation, in four compiled operations: what GPUs run.

TensorFlow's fused operations transpose float32 maps around cuDNN's, have no gradient that is the same at every run on
several replicas, and leave the activation to another pass over the map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from acfnet_tf.layers.compilation import compiled
from acfnet_tf.replicas import replica_sum


def compiled_batch_norm(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    center: tf.Tensor,
    epsilon: float,
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `acfnet_tf.layers.norm.batch_norm_over_replicas`. Of the maps, the backward pass reads the inputs alone."""
    sums = replica_sum(_sums(inputs, center))
    count = sums[-1]
    shift, square = tf.split(sums[:-1] / count, 2)
    mean, variance = center + shift, tf.maximum(square - shift**2, 0.0)
    inverse = tf.math.rsqrt(variance + epsilon)

    @tf.custom_gradient
    def normalize(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Any]:
        given = (inputs, gamma, beta, mean, inverse, activation)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            sums = _backward(upstream, None, *given)
            for_beta, for_gamma = tf.split(sums, 2)
            return _backward(upstream, replica_sum(sums) / count, *given), for_gamma, for_beta

        return _forward(*given), gradient

    return normalize(inputs, gamma, beta), mean, variance


@compiled
def _sums(inputs: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """(2C + 1,) float32: of the values − center, of the squares of these, and the number of values."""
    shifted = tf.cast(inputs, tf.float32) - center
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    return tf.concat([tf.reduce_sum(shifted, (0, 1, 2)), tf.reduce_sum(shifted**2, (0, 1, 2)), [count]], axis=0)


@compiled
def _forward(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, inverse: tf.Tensor, activation: Callable
) -> tf.Tensor:
    return tf.cast(activation((tf.cast(inputs, tf.float32) - mean) * inverse * gamma + beta), inputs.dtype)


@compiled
def _backward(
    upstream: tf.Tensor,
    owed: tf.Tensor | None,
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    inverse: tf.Tensor,
    activation: Callable,
) -> tf.Tensor:
    """The gradients of beta and gamma, (2C,) float32; or with their sum over the replicas that of the inputs.

    What the activation was given is computed again, which takes no memory.

    Args:
        owed: that sum over the number of values, what the statistics owe to each of them.
    """
    normalized = (tf.cast(inputs, tf.float32) - mean) * inverse
    outputs = normalized * gamma + beta
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        activated = activation(outputs)
    through = tape.gradient(activated, outputs, tf.cast(upstream, tf.float32))
    if owed is None:
        sums = [tf.reduce_sum(through, (0, 1, 2)), tf.reduce_sum(through * normalized, (0, 1, 2))]
        return tf.concat(sums, axis=0)
    for_beta, for_gamma = tf.split(owed, 2)
    return tf.cast((through - for_beta - normalized * for_gamma) * (gamma * inverse), inputs.dtype)
