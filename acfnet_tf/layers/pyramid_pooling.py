"""Pyramid pooling module of PSPNet (Zhao et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.conv import ConvNormAct
from acfnet_tf.layers.resize import interpolate, interpolation


@keras.saving.register_keras_serializable("acfnet_tf")
class PyramidPooling(keras.layers.Layer):
    """Means over grids of cells of several sizes, each through a 1×1 convolution, beside the input; a 3×3 after them.

    Cells are those of adaptive pooling: of `bins` along an axis of H pixels, number i reaches from ⌊i·H / bins⌋ to
    ⌈(i + 1)·H / bins⌉, so that any H from 1 on has all of them. Between the centers of equal parts of the axis, the
    means are interpolated. Both are float32 whatever the dtype policy.

    Args:
        channels: of every branch and of the output.
        bins: cells along each axis, one number per branch.
        epsilon: of BatchNorm.

    Call arguments:
        inputs: (B, H, W, C).

    Returns:
        (B, H, W, channels).
    """

    def __init__(
        self, channels: int = 512, bins: Sequence[int] = (1, 2, 3, 6), epsilon: float = 1e-5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.bins, self.epsilon = channels, tuple(bins), epsilon
        common = {"epsilon": epsilon, "dtype": self.dtype_policy}
        self.branches = [ConvNormAct(channels, 1, name=f"branch_{count}x{count}", **common) for count in self.bins]
        self.projection = ConvNormAct(channels, 3, name="projection", **common)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for branch in self.branches:
            branch.build(input_shape)
        self.projection.build((*input_shape[:-1], input_shape[-1] + self.channels * len(self.branches)))
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        levels = [inputs]
        for count, branch in zip(self.bins, self.branches, strict=True):
            pooled = branch(adaptive_average_pooling(inputs, count), training=training)
            rows, columns = (between_cells(size, count) for size in tf.unstack(tf.shape(inputs)[1:3]))
            levels.append(tf.cast(interpolate(pooled, rows, columns), self.compute_dtype))
        return self.projection(tf.concat(levels, axis=-1), training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "bins": self.bins, "epsilon": self.epsilon}


def adaptive_average_pooling(inputs: tf.Tensor, bins: int) -> tf.Tensor:
    """Means over bins × bins cells that cover the image: one small matrix product along each axis.

    Args:
        inputs: (B, H, W, C), any float dtype, H and W from 1 on.
        bins: cells along each axis.

    Returns:
        (B, bins, bins, C) float32.
    """
    _, height, width, _ = tf.unstack(tf.shape(inputs))
    rows = tf.einsum("ph,bhwc->bpwc", _cells(height, bins), tf.cast(inputs, tf.float32))
    return tf.einsum("qw,bpwc->bpqc", _cells(width, bins), rows)


def _cells(size: tf.Tensor, bins: int) -> tf.Tensor:
    """(bins, size) float32: every row is the mean over one cell."""
    index = tf.range(bins)[:, None]
    start, end = index * size // bins, ((index + 1) * size + bins - 1) // bins
    pixel = tf.range(size)[None]
    return tf.cast((pixel >= start) & (pixel < end), tf.float32) / tf.cast(end - start, tf.float32)


def between_cells(size: tf.Tensor, bins: int) -> tf.Tensor:
    """(size, bins) float32, of `interpolation` between the centers of `bins` equal parts of an axis."""
    length = tf.cast(size, tf.float32) / bins  # The center of a part lies half of this from its begin.
    return interpolation(tf.range(size), bins, length, (length - 1) / 2)
