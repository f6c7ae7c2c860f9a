"""Convolution with symmetric padding whose dilated form is fast on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.dilation import dilated_convolution
from acfnet_tf.layers.norm import SyncBatchNorm


def check_channels_last(data_format: str) -> None:
    """Raises ValueError where channels are to be the first axis: nothing here is made for that."""
    if data_format != "channels_last":
        raise ValueError("acfnet_tf runs channels_last; see keras.config.set_image_data_format")


def check_symmetric(layer: keras.layers.Conv2D | keras.layers.DepthwiseConv2D) -> None:
    """Raises ValueError where a convolution cannot be padded by the same number of pixels on all four sides."""
    if len(set(layer.kernel_size)) != 1 or layer.kernel_size[0] % 2 == 0:
        raise ValueError(f"kernel_size must be odd and square, not {layer.kernel_size}")
    if len(set(layer.strides)) != 1 or len(set(layer.dilation_rate)) != 1:
        raise ValueError(f"height and width need the same strides {layer.strides} and rate {layer.dilation_rate}")
    check_channels_last(layer.data_format)


@keras.saving.register_keras_serializable("acfnet_tf")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` of odd kernel size, padded by `dilation_rate * (kernel_size - 1) / 2` on every side.

    It differs from `padding="same"` of Keras in two points:

    - *Symmetric padding*, also for strides above 1, as in the networks whose pretrained weights exist. The output is of
      size `ceil(input / strides)` as with "same".
    - *Dilation by `dilated_convolution`.* Keras goes through SpaceToBatchND and BatchToSpaceND, which more than doubles
      the time of a training step of this network on a CPU. Convolutions in groups still go that way.

    Args:
        filters: number of output channels.
        kernel_size: odd, the same for height and width.
        **kwargs: as for `keras.layers.Conv2D`, without `padding`.

    Raises:
        ValueError: an even kernel size, strides and dilation both above 1, or not the same for height and width.
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        check_symmetric(self)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        rate, stride, pad = self.dilation_rate[0], self.strides[0], (self.kernel_size[0] - 1) // 2
        if rate > 1 and self.groups > 1:
            return super().convolution_op(inputs, kernel)
        if rate > 1:
            return dilated_convolution(inputs, tf.convert_to_tensor(kernel), rate)
        padding = "SAME" if stride == 1 else [[0, 0], [pad, pad], [pad, pad], [0, 0]]
        return tf.nn.conv2d(inputs, kernel, strides=stride, padding=padding)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["padding"]
        return config


@keras.saving.register_keras_serializable("acfnet_tf")
class ConvNormAct(keras.layers.Layer):
    """Convolution, synchronised BatchNorm, activation: the unit of which backbone and heads consist.

    Args:
        filters, kernel_size, strides, dilation_rate: of the convolution, whose kernel begins as "he_normal".
        use_bias: bias of the convolution, superfluous before BatchNorm but present in some pretrained weights.
        epsilon: of BatchNorm.
        activation: after BatchNorm; a name or function as in Keras's layers, or None.

    Call arguments:
        inputs: (B, H, W, C).

    Returns:
        (B, ⌈H / strides⌉, ⌈W / strides⌉, filters).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        dilation_rate: int = 1,
        use_bias: bool = False,
        epsilon: float = 1e-5,
        activation: str | Callable[[tf.Tensor], tf.Tensor] | None = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides, self.dilation_rate = filters, kernel_size, strides, dilation_rate
        self.use_bias, self.epsilon = use_bias, epsilon
        if isinstance(activation, bool):  # Files of version 0.3 say whether it is ReLU.
            activation = "relu" if activation else None
        self.activation = keras.activations.get(activation)
        self.conv = Conv2D(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation_rate,
            use_bias=use_bias,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name="conv",
        )
        self.norm = SyncBatchNorm(epsilon=epsilon, activation=self.activation, dtype=self.dtype_policy, name="norm")
        self.folded = False  # True once `norm` is a mere addition of its beta; see inference/folding.py

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        outputs = self.conv(inputs)
        if self.folded and not training:
            return self.activation(tf.nn.bias_add(outputs, tf.cast(self.norm.beta, outputs.dtype)))
        return self.norm(outputs, training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.conv.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation_rate": self.dilation_rate,
            "use_bias": self.use_bias,
            "epsilon": self.epsilon,
            "activation": keras.activations.serialize(self.activation),
        }
