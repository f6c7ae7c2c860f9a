"""Depthwise convolution with symmetric padding."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.conv import check_symmetric


@keras.saving.register_keras_serializable("acfnet_tf")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` of odd kernel size with `dilation_rate * (kernel_size - 1) / 2` pixels around.

    It does for depthwise convolutions what `acfnet_tf.layers.Conv2D` does for others: padding is symmetric for strides
    above 1 too. The output is of size `ceil(input / strides)`, as with "same".

    Args:
        kernel_size: odd, the same for height and width.
        **kwargs: as for `keras.layers.DepthwiseConv2D`, without `padding`.

    Raises:
        ValueError: an even kernel size, strides and dilation both above 1, or not the same for height and width.
    """

    def __init__(self, kernel_size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(kernel_size, padding="same", **kwargs)
        check_symmetric(self)
        if self.strides[0] > 1 and self.dilation_rate[0] > 1:
            raise ValueError(f"strides {self.strides} and dilation rate {self.dilation_rate} cannot both be above 1")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # Dilation goes through SpaceToBatchND: TensorFlow has no direct gradient of it.
        stride, pad = self.strides[0], (self.kernel_size[0] - 1) // 2
        if stride > 1:
            inputs = tf.pad(inputs, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        outputs = tf.nn.depthwise_conv2d(
            inputs,
            tf.convert_to_tensor(self.kernel),
            strides=[1, stride, stride, 1],
            padding="SAME" if stride == 1 else "VALID",
            dilations=self.dilation_rate,
        )
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["padding"]
        return config
