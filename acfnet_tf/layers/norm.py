"""BatchNorm over the global batch (Section 4.2: InPlaceABN-Sync), fused where there is one replica only."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.replicas import replica_sum

_deferred: contextvars.ContextVar[list | None] = contextvars.ContextVar("deferred", default=None)


@contextlib.contextmanager
def deferred_statistics() -> Iterator[list[tuple[keras.Variable, tf.Tensor]]]:
    """Collects the updates of moving statistics as (variable, new value) pairs instead of making them.

    A training step makes them once it knows that its numbers are finite. Those of a forward pass that is repeated in
    the backward pass (rematerialisation) it drops, or they would count twice.
    """
    updates: list[tuple[keras.Variable, tf.Tensor]] = []
    token = _deferred.set(updates)
    try:
        yield updates
    finally:
        _deferred.reset(token)


@keras.saving.register_keras_serializable("acfnet_tf")
class SyncBatchNorm(keras.layers.BatchNormalization):
    """BatchNorm whose statistics are those of the batches of all replicas together.

    The numbers are those of `keras.layers.BatchNormalization(synchronized=True)`. On one replica they come from one
    fused operation, in half the time. On several, one sum over the replicas in each direction does what Keras takes
    eight for, and the sums are taken around the moving mean, which keeps the variance accurate.

    Args:
        momentum: share of the old value in the moving statistics: 0.9 is the 0.1 of frameworks that weigh the new one.
        epsilon: added to the variance.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any) -> None:
        kwargs["synchronized"] = True
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "only_first_replica"  # all replicas have the same: nothing is to be sent
        return super().add_weight(*args, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        context = tf.distribute.get_replica_context()
        if (context is None or context.num_replicas_in_sync == 1) and inputs.dtype != tf.float64:
            outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)
            # The fused operation returns the unbiased variance, for which it divides by max(count − 1, 1).
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
            variance *= (count - 1) / count
        else:
            around = tf.stop_gradient(tf.convert_to_tensor(self.moving_mean))
            values = tf.cast(inputs, gamma.dtype)
            outputs, mean, variance = _batch_norm_over_replicas(values, gamma, beta, around, self.epsilon)
            outputs = tf.cast(outputs, inputs.dtype)
        updates = _deferred.get()
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            value = moving * self.momentum + tf.stop_gradient(value) * (1 - self.momentum)
            moving.assign(value) if updates is None else updates.append((moving, value))
        return outputs


def _batch_norm_over_replicas(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, around: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Outputs, mean and biased variance over the batches of all replicas.

    Args:
        inputs: (B, H, W, C) of this replica.
        gamma, beta: (C,).
        around: (C,) near the mean and the same on all replicas: squares are summed around it, without cancellation.
        epsilon: added to the variance.
    """
    axes = [0, 1, 2]
    local_count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), inputs.dtype)
    local_mean, local_variance = tf.nn.moments(inputs, axes)
    shift = local_mean - around
    sums = tf.concat([local_count * shift, local_count * (local_variance + shift**2), [local_count]], axis=0)
    sums = replica_sum(sums)
    shift, square = tf.split(sums[:-1] / sums[-1], 2)
    count, mean, variance = sums[-1], around + shift, tf.maximum(square - shift**2, 0.0)
    inverse = tf.math.rsqrt(variance + epsilon)

    @tf.custom_gradient
    def normalize(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Any]:
        scale = gamma * inverse

        def gradient(outputs_gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            for_beta = tf.reduce_sum(outputs_gradient, axes)
            for_gamma = tf.reduce_sum(outputs_gradient * (inputs - mean), axes) * inverse
            all_beta, all_gamma = tf.split(replica_sum(tf.concat([for_beta, for_gamma], axis=0)) / count, 2)
            slope = all_gamma * inverse
            for_inputs = scale * (outputs_gradient - inputs * slope + (mean * slope - all_beta))
            return for_inputs, for_gamma, for_beta

        return inputs * scale + (beta - mean * scale), gradient

    return normalize(inputs, gamma, beta), mean, variance
