"""Which numbers are rounded, and which must not be whatever the processor does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf


def dtype_policy(precision: str) -> str:
    """Keras's dtype policy for one of `acfnet_tf.config.Precision`: TF32 is how float32 is multiplied, no dtype."""
    return "float32" if precision == "tf32" else precision


@contextlib.contextmanager
def running(precision: str) -> Iterator[None]:
    """What TensorFlow runs in here is multiplied in this precision: exactly for "float32", else in TF32 on GPUs.

    TensorFlow has but one switch for all that a process runs.
    """
    exact = precision == "float32"
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(not exact)
    _keep_layout(not exact)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _keep_layout(keep: bool) -> None:
    """Whether graphs stay channels-last on GPUs, which their matrix units multiply in TF32 and bfloat16.

    TensorFlow makes them channels-first, as is faster without these, unless most convolutions are in float16. cuDNN
    would transpose the maps around every convolution.
    """
    options = tf.config.optimizer.get_experimental_options()
    if tf.config.get_visible_devices("GPU") and options.get("layout_optimizer", True) == keep:
        tf.config.optimizer.set_experimental_options({"layout_optimizer": not keep})


def exact_dtype(layer: keras.layers.Layer) -> str:
    """In which a layer adds up whole images, whatever its dtype policy: "float32", or "float64" where the policy is.

    The variables of the policy "float16" are float16 too, in which such sums overflow and the tiny numbers that avoid a
    division by zero are zero themselves.
    """
    return keras.backend.result_type(layer.variable_dtype, "float32")


def exact_product(
    product: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], a: tf.Tensor, b: tf.Tensor, axes: tuple[int, int]
) -> tf.Tensor:
    """`product(a, b)`, in float32 also where TF32 would round the factors to 11 bits.

    Every factor is the sum of its leading 11 bits and a rest of 13, and both are multiplied. What is left out, rest by
    rest, is what float32 rounds itself. The gradient is rounded like all others of the network.

    Args:
        product: bilinear, such as `tf.matmul`.
        a, b: of one float dtype.
        axes: of `a` and of `b`, along which the product sums.
    """
    on_gpu = tf.config.get_visible_devices("GPU") and tf.config.experimental.tensor_float_32_execution_enabled()
    if a.dtype != tf.float32 or not on_gpu:
        return product(a, b)

    @tf.custom_gradient
    def multiply(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch((a, b))
                rounded = product(a, b)
            return tape.gradient(rounded, (a, b), upstream)

        (a_leading, a_rest), (b_leading, b_rest) = _split_bits(a), _split_bits(b)
        a_parts = tf.concat([a_leading, a_leading, a_rest], axes[0])
        return product(a_parts, tf.concat([b_leading, b_rest, b_leading], axes[1])), gradient

    return multiply(a, b)


def _split_bits(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Float32 as a sum of two: the number with the 13 last bits of its mantissa cleared, and the rest, exactly."""
    leading = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), -1 << 13), tf.float32)
    return leading, x - leading
