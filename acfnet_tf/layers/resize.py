"""Bilinear resizing of feature maps and logits, in which every feature stays on the pixel that it belongs to."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.layers.precision import exact_product


class Grid(NamedTuple):
    """Where the features of a map stand: number i, along both axes, on pixel `offset` + `stride` · i of the image.

    A network whose strided layers are padded symmetrically has the offset 0, whatever the size of the image.
    """

    stride: float
    offset: float = 0.0

    def within(self, finer: Grid) -> Grid:
        """The same places, counted in features of a finer map of the same image."""
        return Grid(self.stride / finer.stride, (self.offset - finer.offset) / finer.stride)

    def nearest_features(self, pixels: np.ndarray | float, count: int) -> np.ndarray:
        """The numbers of those of `count` features that lie nearest to pixels, int."""
        return np.rint((np.asarray(pixels) - self.offset) / self.stride).clip(0, count - 1).astype(int)

    def nearest_pixels(self, count: int, length: int) -> np.ndarray:
        """The pixels, of `length` along an axis, that lie nearest to each of `count` features, (count,) int."""
        return np.rint(self.offset + self.stride * np.arange(count)).clip(0, length - 1).astype(int)


def interpolation(
    pixels: tf.Tensor, count: tf.Tensor | int, stride: tf.Tensor | float, offset: tf.Tensor | float = 0.0
) -> tf.Tensor:
    """Weights of linear interpolation along one axis, as a matrix that is to be multiplied with the features.

    A pixel takes from the two features between which it lies, by their distances; before the first feature and beyond
    the last one it takes that one alone.

    Args:
        pixels: (P,) places on the axis, any dtype.
        count: of features.
        stride, offset: the `Grid` on which features stand.

    Returns:
        (P, count) float32; every row sums to 1.
    """
    places = (tf.cast(pixels, tf.float32) - offset) / stride
    places = tf.reshape(tf.clip_by_value(places, 0.0, tf.cast(count - 1, tf.float32)), (-1, 1))
    return tf.maximum(0.0, 1 - tf.abs(places - tf.cast(tf.range(count), tf.float32)))


def interpolate(inputs: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Two matrix products: exact, and the same bits at every run, also backwards, where nothing is added atomically.

    Args:
        inputs: (B, h, w, C), any float dtype.
        rows: (H, h) float32, `interpolation` along the height.
        columns: (W, w) float32, along the width.

    Returns:
        (B, H, W, C) float32.
    """
    batch, height, width, channels = *tf.unstack(tf.shape(inputs)[:3]), inputs.shape[-1]
    # All columns and channels of a row side by side make one wide product, without a transposition.
    flat = tf.reshape(tf.cast(inputs, tf.float32), (batch, height, width * channels))
    enlarged = exact_product(tf.matmul, rows, flat, axes=(1, 1))
    enlarged = tf.reshape(enlarged, (batch, tf.shape(rows)[0], width, channels))
    return exact_product(tf.matmul, columns, enlarged, axes=(1, 2))


@keras.saving.register_keras_serializable("acfnet_tf")
class ResizeLike(keras.layers.Layer):
    """Resizes a map to the height and width of a finer one, or of the image, bilinearly.

    Input number i stands on pixel `offset` + `stride` · i of the reference, and stays there at every size: of 769
    pixels and 97 features at stride 8 as of 768 and 96. Beyond the last feature, its value goes on. (To align the
    corners instead, as `align_corners` of other libraries does, is the same for 8k + 1 pixels, and stretches the map by
    up to 7 pixels for all others.)

    Sizes are read at run time. A mixed policy does not round the logits.

    Args:
        stride: of the inputs, in pixels of the reference. None: the power of two that gives these sizes, as of a
            network whose strides are 2 and padded symmetrically.
        offset: of the first input, in pixels of the reference.

    Call arguments:
        inputs: (B, h, w, C), any float dtype.
        reference: (B, H, W, any); only its size is used.

    Returns:
        (B, H, W, C) float32.

    Raises:
        ValueError: a stride that is not positive.
    """

    def __init__(self, stride: float | None = None, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if stride is not None and not stride > 0:
            raise ValueError(f"stride must be positive, or None, not {stride!r}")
        self.stride, self.offset = stride, offset

    def build(self, inputs_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]) -> None:
        self.built = True

    def call(self, inputs: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
        weights = []
        for count, length in zip(*(tf.unstack(tf.shape(x)[1:3]) for x in (inputs, reference)), strict=True):
            stride = power_of_two(count, length) if self.stride is None else self.stride
            weights.append(interpolation(tf.range(length), count, stride, self.offset))
        return interpolate(inputs, *weights)

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (inputs_shape[0], *reference_shape[1:3], inputs_shape[-1])

    def compute_output_spec(self, inputs: keras.KerasTensor, reference: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape, reference.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"stride": self.stride, "offset": self.offset}


def power_of_two(count: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
    """The stride by which `length` pixels become `count` features: a power of two, or of 1/2 where these are more.

    Of lengths that it does not divide, the rest may have given a feature more, or have been dropped.
    """
    fewer, more = (tf.cast(choose(count, length), tf.float32) for choose in (tf.minimum, tf.maximum))
    powers = tf.constant([2.0**exponent for exponent in range(17)])
    # With one or two features, both cannot be told apart: then nothing was dropped.
    enough = tf.where(fewer > 2, powers * (fewer + 1) - 1, powers * fewer) >= more
    stride = tf.reduce_min(tf.where(enough, powers, powers[-1]))
    return tf.where(count <= length, stride, 1 / stride)
