"""Class Attention Block (Section 3.1.2, Eq. 3 and 5, Figure 3b)."""

from __future__ import annotations

import functools
from typing import Any, Literal

import keras
import tensorflow as tf

from acfnet_tf.layers.precision import exact_dtype, exact_product


@keras.saving.register_keras_serializable("acfnet_tf")
class ClassAttentionBlock(keras.layers.Layer):
    """Every pixel attends to the class centers of its image with its own coarse probabilities, refined by a 1×1 conv.

    combine="sum" (Eq. 3):      Fa[j] = Σ_i P[j,i] · center_i                    (B, H, W, C')
    combine="concat" (Eq. 5):   Fa[j] = concat over i of (P[j,i] · center_i)      (B, H, W, N·C')

    The attentional class feature is conv1x1(Fa). Neither form of Fa is ever computed, because the convolution is
    linear and can be applied to the N centers instead of to all H·W pixels, without approximation:

        sum:     conv1x1(Fa)[j] = Σ_i P[j,i] · (center_i · W) + b
        concat:  conv1x1(Fa)[j] = Σ_i P[j,i] · (center_i · W_i) + b       W_i: the i-th block of C' rows of the kernel

    so that the N·C'-channel map of "concat" does not exist. All products are float32 whatever the dtype policy.

    Args:
        channels: of the output.
        combine: "sum" or "concat".

    Call arguments:
        centers: (B, N, C'), any float dtype.
        probabilities: (B, H, W, N), softmax of the coarse logits over the classes.

    Returns:
        (B, H, W, channels) in the compute dtype.

    Raises:
        ValueError: `combine` is neither "sum" nor "concat".
    """

    def __init__(self, channels: int = 512, combine: Literal["sum", "concat"] = "sum", **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if combine not in ("sum", "concat"):
            raise ValueError(f'combine must be "sum" or "concat", not {combine!r}')
        self.channels = channels
        self.combine = combine

    def build(self, centers_shape: tuple[int | None, ...], probabilities_shape: tuple[int | None, ...]) -> None:
        classes, center_channels = centers_shape[1:]
        kernel_shape = (center_channels if self.combine == "sum" else classes * center_channels, self.channels)
        exact = {"dtype": exact_dtype(self), "autocast": False}
        self.kernel = self.add_weight(shape=kernel_shape, initializer="he_normal", name="kernel", **exact)
        self.bias = self.add_weight(shape=(self.channels,), initializer="zeros", name="bias", **exact)

    def call(self, centers: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        centers, probabilities = (tf.cast(x, exact_dtype(self)) for x in (centers, probabilities))
        kernel = tf.convert_to_tensor(self.kernel)
        if self.combine == "sum":
            projected = exact_product(functools.partial(tf.einsum, "bnc,cd->bnd"), centers, kernel, axes=(2, 0))
        else:
            blocks = tf.reshape(kernel, (centers.shape[1], centers.shape[2], self.channels))
            projected = exact_product(functools.partial(tf.einsum, "bnc,ncd->bnd"), centers, blocks, axes=(2, 1))
        mix = functools.partial(tf.einsum, "bhwn,bnd->bhwd")
        features = exact_product(mix, probabilities, projected, axes=(3, 1)) + self.bias
        return tf.cast(features, self.compute_dtype)

    def compute_output_shape(
        self, centers_shape: tuple[int | None, ...], probabilities_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*probabilities_shape[:3], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "combine": self.combine}
