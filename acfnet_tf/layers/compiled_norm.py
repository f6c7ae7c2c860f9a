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

Activation = Callable[[tf.Tensor], tf.Tensor]


def compiled_batch_norm(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, center: tf.Tensor, epsilon: float, activation: Activation
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
            sums = _gradient_sums(upstream, *given)
            for_beta, for_gamma = tf.split(sums, 2)
            return _gradient_of_inputs(upstream, replica_sum(sums) / count, *given), for_gamma, for_beta

        return _activated(*given), gradient

    return normalize(inputs, gamma, beta), mean, variance


@compiled
def _sums(inputs: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """(2C + 1,) float32: of the values − center, of the squares of these, and the number of values."""
    shifted = tf.cast(inputs, tf.float32) - center
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    return tf.concat([tf.reduce_sum(shifted, (0, 1, 2)), tf.reduce_sum(shifted**2, (0, 1, 2)), [count]], axis=0)


@compiled
def _activated(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, inverse: tf.Tensor, activation: Activation
) -> tf.Tensor:
    return tf.cast(activation(_normalized(inputs, mean, inverse) * gamma + beta), inputs.dtype)


@compiled
def _gradient_sums(upstream: tf.Tensor, inputs: tf.Tensor, gamma: tf.Tensor, *given: Any) -> tf.Tensor:
    """(2C,) float32, the gradients of beta and gamma."""
    through = _through_activation(upstream, inputs, gamma, *given)
    _, mean, inverse, _ = given
    for_gamma = tf.reduce_sum(through * _normalized(inputs, mean, inverse), (0, 1, 2))
    return tf.concat([tf.reduce_sum(through, (0, 1, 2)), for_gamma], axis=0)


@compiled
def _gradient_of_inputs(
    upstream: tf.Tensor, means: tf.Tensor, inputs: tf.Tensor, gamma: tf.Tensor, *given: Any
) -> tf.Tensor:
    """`means` (2C,): `_gradient_sums` of all replicas over the number of values, what the statistics owe to one."""
    through = _through_activation(upstream, inputs, gamma, *given)
    _, mean, inverse, _ = given
    for_beta, for_gamma = tf.split(means, 2)
    through -= for_beta + _normalized(inputs, mean, inverse) * for_gamma
    return tf.cast(through * (gamma * inverse), inputs.dtype)


def _through_activation(
    upstream: tf.Tensor,
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    inverse: tf.Tensor,
    activation: Activation,
) -> tf.Tensor:
    """The gradient of what the activation was given, which is computed again: that takes no memory."""
    outputs = _normalized(inputs, mean, inverse) * gamma + beta
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        activated = activation(outputs)
    return tape.gradient(activated, outputs, tf.cast(upstream, tf.float32))


def _normalized(inputs: tf.Tensor, mean: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    return (tf.cast(inputs, tf.float32) - mean) * inverse
