"""BatchNorm over the global batch (Section 4.2: InPlaceABN-Sync), fused where there is one replica only."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("acfnet_tf")
class SyncBatchNorm(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization(synchronized=True)`, as one fused operation where nothing is to synchronise.

    Keras composes synchronised statistics of many elementwise operations, on a single replica too. There the fused
    operation computes the same in half the time, the biased variance of the moving statistics included.

    Args:
        momentum: share of the old value in the moving statistics: 0.9 is the 0.1 of frameworks that weigh the new one.
        epsilon: added to the variance.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any) -> None:
        kwargs["synchronized"] = True
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if not training or not self.trainable or replicas > 1 or inputs.dtype == tf.float64:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta), epsilon=self.epsilon
        )
        # The fused operation returns the unbiased variance, for which it divides by max(count − 1, 1).
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
        variance *= (count - 1) / count
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return outputs
