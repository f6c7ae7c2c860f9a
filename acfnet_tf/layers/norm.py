"""BatchNorm over the global batch (Section 4.2: InPlaceABN-Sync), of fused operations."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.compilation import is_compiling
from acfnet_tf.layers.compiled_norm import compiled_batch_norm
from acfnet_tf.replicas import replica_sum

FUSED_DTYPES = (tf.float32, tf.bfloat16, tf.float16)

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

    The numbers are those of `keras.layers.BatchNormalization(synchronized=True)`, which composes them of elementwise
    operations; fused operations take half the time. On several replicas, one sum over them in each direction does what
    Keras takes eight for, and the sums are taken around the moving mean, which keeps the variance accurate. Maps
    (B, H, W, C) without a mask go this way; everything else that Keras's layer takes goes Keras's.

    Args:
        axis: of the channels.
        momentum: part of the old value in the moving statistics: 0.9 is the 0.1 of frameworks that weigh the new one.
        epsilon: added to the variance.
        activation: of the outputs; a name or function as in Keras's layers, or None.
        **kwargs: as for `keras.layers.BatchNormalization`.

    Raises:
        ValueError: `synchronized` is false.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        activation: str | Callable[[tf.Tensor], tf.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.setdefault("synchronized", True):
            raise ValueError("SyncBatchNorm is always synchronized; keras.layers.BatchNormalization need not be")
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)
        self.activation = keras.activations.get(activation)

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "only_first_replica"  # All replicas have the same, so that nothing is to be sent.
        return super().add_weight(*args, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if not training or not self.trainable:
            return self.activation(super().call(inputs, training=training, mask=mask))
        # The fused operations take no other rank, axis or dtype.
        is_map = inputs.shape.rank == 4 and self.axis in (-1, 3) and inputs.dtype in FUSED_DTYPES
        if not is_map or mask is not None or getattr(self, "renorm", False):
            return self.activation(self._call_composed(inputs, mask))
        moving = (self.moving_mean, self.moving_variance)
        before = [tf.convert_to_tensor(variable) for variable in moving]
        center = tf.stop_gradient(tf.cast(before[0], tf.float32))
        gamma = tf.cast(self.gamma, tf.float32) if self.scale else tf.ones_like(center)
        beta = tf.cast(self.beta, tf.float32) if self.center else tf.zeros_like(center)
        if is_compiling():
            rest = (tuple(before), self.momentum, self.epsilon, self.activation)
            outputs, *after = compiled_batch_norm(inputs, gamma, beta, *rest)
        else:
            outputs, *statistics = batch_norm_over_replicas(inputs, gamma, beta, center, self.epsilon)
            outputs = self.activation(outputs)
            pairs = zip(before, map(tf.stop_gradient, statistics), strict=True)
            after = [old * self.momentum + tf.cast(value, old.dtype) * (1 - self.momentum) for old, value in pairs]
        updates = _deferred.get()
        for variable, value in zip(moving, after, strict=True):
            variable.assign(value) if updates is None else updates.append((variable, value))
        return outputs

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": keras.activations.serialize(self.activation)}

    def _call_composed(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Keras's own operations. They assign the moving statistics, which is taken back where that is deferred."""
        updates = _deferred.get()
        moving = self.non_trainable_variables
        before = [tf.identity(variable) for variable in moving]
        outputs = super().call(inputs, training=True, mask=mask)
        if updates is not None:
            updates += [(variable, tf.identity(variable)) for variable in moving]
            for variable, value in zip(moving, before, strict=True):
                variable.assign(value)
        return outputs

    def _moments(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and variance over the values that are not masked, of all replicas: Keras masks those of one only."""
        if mask is None:
            return super()._moments(inputs, mask)
        weights = tf.broadcast_to(tf.cast(mask, inputs.dtype)[..., None], tf.shape(inputs))

        def mean_of(values: tf.Tensor) -> tf.Tensor:
            counted = tf.math.multiply_no_nan(values, weights)
            total, count = replica_sum([tf.reduce_sum(x, self._reduction_axes) for x in (counted, weights)])
            return total / tf.maximum(count, 1e-7)

        mean = mean_of(inputs)
        return mean, mean_of((inputs - mean) ** 2)


def batch_norm_over_replicas(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, center: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Outputs, mean and biased variance over the batches of all replicas.

    Args:
        inputs: (B, H, W, C) of this replica; float32, bfloat16 or float16.
        gamma, beta: (C,) float32.
        center: (C,) float32, near the mean and the same on all replicas: squares are summed around it, so that they
            do not cancel.
        epsilon: added to the variance.
    """
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=epsilon)
    # The fused operation returns the unbiased variance, for which it divides by max(count − 1, 1).
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
    variance *= (count - 1) / count
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return outputs, mean, variance
    shift = mean - center
    sums = replica_sum(tf.concat([count * shift, count * (variance + shift**2), [count]], axis=0))
    return normalize_by_sums(inputs, gamma, beta, center, sums, epsilon)


def normalize_by_sums(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, center: tf.Tensor, sums: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `batch_norm_over_replicas`, once the sums over the replicas are known.

    Args:
        inputs, gamma, beta, center, epsilon: as there.
        sums: (2C + 1,) float32: of the values − center, of the squares of these, and the number of values.
    """
    count = sums[-1]
    shift, square = tf.split(sums[:-1] / count, 2)
    mean, variance = center + shift, tf.maximum(square - shift**2, 0.0)

    @tf.custom_gradient
    def normalize(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradient(outputs_gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # The gradient for given statistics; what they owe to the inputs, on all replicas, is added to it.
            given = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=outputs_gradient,
                x=inputs,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.constant([]),
                epsilon=epsilon,
                is_training=False,
            )
            sums = replica_sum(tf.concat([given.offset_backprop, given.scale_backprop], axis=0))
            for_beta, for_gamma = tf.split(sums / count, 2)
            inverse = tf.math.rsqrt(variance + epsilon)
            slope = gamma * inverse**2 * for_gamma
            through_statistics = tf.cast(inputs, slope.dtype) * slope + (gamma * inverse * for_beta - mean * slope)
            for_inputs = given.x_backprop - tf.cast(through_statistics, inputs.dtype)
            return for_inputs, given.scale_backprop, given.offset_backprop

        outputs = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
        )
        return outputs.y, gradient

    return normalize(inputs, gamma, beta), mean, variance
