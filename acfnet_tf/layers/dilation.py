"""Dilated convolution, with a gradient that every processor has and that is fast at large rates."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
from collections.abc import Callable, Iterator

import tensorflow as tf

LARGE_RATE = 8
"""From this rate on, oneDNN's gradient of the kernel takes 1.3 to 5 times as long on CPUs as matrix products."""

_differentiable = contextvars.ContextVar("differentiable", default=True)


@contextlib.contextmanager
def never_differentiated() -> Iterator[None]:
    """In here, dilated convolutions are plain ones. With a gradient of ours around them, TensorFlow fuses less, and
    converters of graphs stumble."""
    token = _differentiable.set(False)
    try:
        yield
    finally:
        _differentiable.reset(token)


def dilated_convolution(inputs: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    """`tf.nn.conv2d` with dilation, whose gradient is TensorFlow's where it has one, and our own elsewhere.

    On CPUs TensorFlow has that gradient by oneDNN only, and not in every dtype. Ours consists of the same convolution
    and of matrix products, and takes no more multiplications.

    Args:
        inputs: (B, H, W, C), any float dtype.
        kernel: (k, k, C, D) of the same dtype, k odd.
        rate: dilation along both axes.

    Returns:
        (B, H, W, D), as if `rate` · (k − 1) / 2 zeros were around the inputs.
    """
    near = rate < LARGE_RATE or tf.config.get_visible_devices("GPU")
    if not _differentiable.get() or (near and _has_gradient(inputs.dtype.name)):
        return _convolve(inputs, kernel, rate)

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            mirrored = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
            of_inputs = dilated_convolution(upstream, mirrored, rate)  # It is differentiable again.
            return of_inputs, _gradient_of_kernel(inputs, upstream, kernel.shape, rate)

        return _convolve(inputs, kernel, rate), gradient

    return convolve(inputs, kernel)


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME", dilations=rate)


def _gradient_of_kernel(inputs: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, rate: int) -> tf.Tensor:
    """The gradient of each tap is the product of the inputs that it has seen with the gradients of what became of them.

    At large rates most taps lie beyond the image for most pixels: only what overlaps is multiplied.
    """
    size, _, channels, filters = shape
    shifts = [rate * (tap - size // 2) for tap in range(size)]
    taps = []
    for down, right in itertools.product(shifts, shifts):
        with tf.control_dependencies(taps[-1:]):  # One after the other, so that only one has its copies in memory.
            seen = tf.reshape(_shifted(inputs, down, right), (-1, channels))
            became = tf.reshape(_shifted(upstream, -down, -right), (-1, filters))
            taps.append(tf.matmul(seen, became, transpose_a=True))
    return tf.reshape(tf.stack(taps), shape)


def _shifted(x: tf.Tensor, down: int, right: int) -> tf.Tensor:
    """Drops the rows and columns that have no partner in the map that is shifted the other way."""
    rows, columns = (slice(max(shift, 0), min(shift, 0) or None) for shift in (down, right))
    return x[:, rows, columns]


@functools.cache
def _has_gradient(dtype: str) -> bool:
    """Whether TensorFlow has the gradient of a dilated convolution on this machine."""
    common = {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}
    with tf.init_scope():  # This is eager and is not recorded, so that it must call the gradient's own operations.
        image, kernel = tf.zeros((1, 3, 3, 1), dtype), tf.zeros((3, 3, 1, 1), dtype)
        try:
            tf.raw_ops.Conv2DBackpropInput(input_sizes=image.shape, filter=kernel, out_backprop=image, **common)
            tf.raw_ops.Conv2DBackpropFilter(input=image, filter_sizes=kernel.shape, out_backprop=image, **common)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True
