"""BatchNorm over the global batch with its activation, in one compiled operation for each direction: what GPUs run.

TensorFlow's fused operations transpose float32 maps around cuDNN's, have no gradient that is the same at every run on
several replicas, and leave the activation to another pass over the map. On several replicas the sums travel between
two compiled operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from acfnet_tf.layers.compilation import compiled
from acfnet_tf.replicas import replica_sum

Activation = Callable[[tf.Tensor], tf.Tensor]


def compiled_batch_norm(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    moving: tuple[tf.Tensor, tf.Tensor],
    momentum: float,
    epsilon: float,
    activation: Activation,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The activated outputs, and the new moving mean and variance. The backward pass reads no map but the inputs.

    Args:
        inputs: (B, H, W, C) of this replica, any float dtype.
        gamma, beta: (C,) float32.
        moving: mean and variance, (C,), the same on all replicas; squares are summed around the mean.
        momentum: part of the old value in the moving statistics.
        epsilon: added to the variance.
        activation: elementwise.
    """
    context = tf.distribute.get_replica_context()
    alone = context is None or context.num_replicas_in_sync == 1
    forward, backward = (_forward_alone, _backward_alone) if alone else (_forward, _backward)

    @tf.custom_gradient
    def normalize(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[Any, Any]:
        outputs, statistics, updated = forward(inputs, gamma, beta, moving, momentum, epsilon, activation)

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return backward(upstream, inputs, gamma, beta, *statistics, activation)

        return (outputs, *updated), gradient

    return normalize(inputs, gamma, beta)


def _forward(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    moving: tuple[tf.Tensor, tf.Tensor],
    momentum: float,
    epsilon: float,
    activation: Activation,
) -> tuple[tf.Tensor, tuple, list[tf.Tensor]]:
    """Outputs; what the backward pass wants to know: mean, 1 / deviation, number of values; new moving statistics."""
    center = tf.cast(moving[0], tf.float32)
    sums = replica_sum(_sums(inputs, center))
    count = sums[-1]
    shift, square = tf.split(sums[:-1] / count, 2)
    mean, variance = center + shift, tf.maximum(square - shift**2, 0.0)
    inverse = tf.math.rsqrt(variance + epsilon)
    pairs = zip(moving, (mean, variance), strict=True)
    updated = [old * momentum + tf.cast(value, old.dtype) * (1 - momentum) for old, value in pairs]
    return _activated(inputs, gamma, beta, mean, inverse, activation), (mean, inverse, count), updated


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
    return tf.cast(activation((tf.cast(inputs, tf.float32) - mean) * inverse * gamma + beta), inputs.dtype)


def _backward(
    upstream: tf.Tensor,
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    inverse: tf.Tensor,
    count: tf.Tensor,
    activation: Activation,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gradients of inputs, gamma and beta."""
    given = (inputs, gamma, beta, mean, inverse, activation)
    sums = _gradients(upstream, None, *given)
    return _gradients(upstream, replica_sum(sums) / count, *given), sums[1], sums[0]


@compiled
def _gradients(
    upstream: tf.Tensor,
    owed: tf.Tensor | None,
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    inverse: tf.Tensor,
    activation: Activation,
) -> tf.Tensor:
    """The gradients of beta and gamma, (2, C) float32; or with their sum over the replicas that of the inputs.

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
        return tf.stack([tf.reduce_sum(through, (0, 1, 2)), tf.reduce_sum(through * normalized, (0, 1, 2))])
    return tf.cast((through - owed[0] - normalized * owed[1]) * (gamma * inverse), inputs.dtype)


_forward_alone, _backward_alone = compiled(_forward), compiled(_backward)
