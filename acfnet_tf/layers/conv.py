"""Convolution with symmetric padding whose dilated form is fast on TensorFlow."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.norm import SyncBatchNorm


@keras.saving.register_keras_serializable("acfnet_tf")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` of odd kernel size, padded by `dilation_rate * (kernel_size - 1) / 2` on every side.

    It differs from `padding="same"` of Keras in two points:

    - *Symmetric padding*, also for strides above 1, as in the networks whose pretrained weights exist. The output is of
      size `ceil(input / strides)` as with "same".
    - *Dilation by `tf.nn.conv2d` directly.* Keras goes through SpaceToBatchND and BatchToSpaceND, which more than
    doubles
      the time of a training step of this network on a CPU.

    Args:
        filters: number of output channels.
        kernel_size: odd, the same for height and width.
        **kwargs: as for `keras.layers.Conv2D`, without `padding`.

    Raises:
        ValueError: an even kernel size, strides and dilation both above 1, or not the same for height and width.
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        if len(set(self.kernel_size)) != 1 or self.kernel_size[0] % 2 == 0:
            raise ValueError(f"kernel_size must be odd and square, not {self.kernel_size}")
        if len(set(self.strides)) != 1 or len(set(self.dilation_rate)) != 1:
            raise ValueError(f"height and width need the same strides {self.strides} and rate {self.dilation_rate}")
        if self.data_format != "channels_last":
            raise ValueError("acfnet_tf runs channels_last; see keras.config.set_image_data_format")

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        rate, stride = self.dilation_rate[0], self.strides[0]
        if rate > 1 and not _direct_dilation_is_differentiable(inputs.dtype.name):
            return super().convolution_op(inputs, kernel)
        pad = rate * (self.kernel_size[0] - 1) // 2
        # With stride 1 "SAME" is symmetric, and the only padding whose dilated gradient TensorFlow has on a CPU.
        padding = "SAME" if stride == 1 else [[0, 0], [pad, pad], [pad, pad], [0, 0]]
        return tf.nn.conv2d(inputs, kernel, strides=self.strides, padding=padding, dilations=self.dilation_rate)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["padding"]
        return config


@functools.cache
def _direct_dilation_is_differentiable(dtype: str) -> bool:
    """Whether this machine has the gradient of a dilated `tf.nn.conv2d`: on a CPU only oneDNN has it, in float32."""
    common = {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}
    with tf.init_scope():  # eager, and without recording, hence the gradient ops themselves
        image, kernel = tf.zeros((1, 3, 3, 1), dtype), tf.zeros((3, 3, 1, 1), dtype)
        try:
            tf.raw_ops.Conv2DBackpropInput(input_sizes=image.shape, filter=kernel, out_backprop=image, **common)
            tf.raw_ops.Conv2DBackpropFilter(input=image, filter_sizes=kernel.shape, out_backprop=image, **common)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@keras.saving.register_keras_serializable("acfnet_tf")
class ConvNormAct(keras.layers.Layer):
    """Convolution, synchronised BatchNorm, ReLU: the unit of which backbone and heads consist.

    Args:
        filters: number of output channels.
        kernel_size: odd.
        strides: of the convolution.
        dilation_rate: of the convolution.
        use_bias: bias of the convolution, superfluous before BatchNorm but present in some pretrained weights.
        epsilon: of BatchNorm.
        activation: ReLU after BatchNorm, or none.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        dilation_rate: int = 1,
        use_bias: bool = False,
        epsilon: float = 1e-5,
        activation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides, self.dilation_rate = filters, kernel_size, strides, dilation_rate
        self.use_bias, self.epsilon, self.activation = use_bias, epsilon, activation
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
        self.norm = SyncBatchNorm(epsilon=epsilon, dtype=self.dtype_policy, name="norm")
        self.folded = False  # whether `norm` has been made a mere addition of its beta; see inference/folding.py

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        outputs = self.conv(inputs)
        if self.folded and not training:
            outputs = tf.nn.bias_add(outputs, self.norm.beta)
        else:
            outputs = self.norm(outputs, training=training)
        return tf.nn.relu(outputs) if self.activation else outputs

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
            "activation": self.activation,
        }
