"""Atrous spatial pyramid pooling as the paper re-implements it (Section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.conv import ConvNormAct


@keras.saving.register_keras_serializable("acfnet_tf")
class ASPP(keras.layers.Layer):
    """One 1×1 and one dilated 3×3 convolution per rate in parallel, concatenated and projected by a 1×1 convolution.

    Every branch has 512 channels instead of the original's 256. There is no image-pooling branch. The projection to
    `channels` is the one of the original (DeepLabv3), which the paper says it follows but for the branches' width.

    Args:
        channels: of every branch and of the output.
        rates: dilation rates of the 3×3 branches.
        epsilon: of BatchNorm.

    Call arguments:
        inputs: (B, H, W, C).

    Returns:
        (B, H, W, channels).
    """

    def __init__(
        self, channels: int = 512, rates: Sequence[int] = (12, 24, 36), epsilon: float = 1e-5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.rates, self.epsilon = channels, tuple(rates), epsilon
        common = {"epsilon": epsilon, "dtype": self.dtype_policy}
        self.branches = [ConvNormAct(channels, 1, name="branch_1x1", **common)] + [
            ConvNormAct(channels, 3, dilation_rate=rate, name=f"branch_rate_{rate}", **common) for rate in self.rates
        ]
        self.projection = ConvNormAct(channels, 1, name="projection", **common)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for branch in self.branches:
            branch.build(input_shape)
        self.projection.build((*input_shape[:-1], self.channels * len(self.branches)))
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        branches = [branch(inputs, training=training) for branch in self.branches]
        return self.projection(tf.concat(branches, axis=-1), training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "rates": self.rates, "epsilon": self.epsilon}
