"""Class Center Block (Section 3.1.1, Eq. 2, Figure 3a)."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.precision import exact_dtype, exact_product

EPSILON = 1e-20
"""The least sum of probabilities by which a mean divides. A class with less in the whole image is absent: its center
becomes zero (plus the bias of the convolution) instead of 0 / 0. In float16 this number would be zero itself."""


@keras.saving.register_keras_serializable("acfnet_tf")
class ClassCenterBlock(keras.layers.Layer):
    """The mean feature of every class of this image, weighted by the coarse segmentation's probabilities.

    Eq. 2, with F' = conv1x1(F) of `channels` channels and pixels j of one image:

        center_i = Σ_j P[j,i] · F'[j]  /  Σ_j P[j,i]

    Both the mean and the 1×1 convolution are linear and the weights of a mean sum to one, so the order is exchanged
    without approximation: conv1x1 runs on the N means instead of on all H·W pixels.

    Probabilities, their normalisation and the means are float32 whatever the dtype policy. A class that is absent
    (see `EPSILON`) has a finite center and finite gradients.

    Args:
        channels: C', the channels of a center.

    Call arguments:
        features: (B, H, W, C), any float dtype.
        probabilities: (B, H, W, N), softmax of the coarse logits over the classes.

    Returns:
        (B, N, channels) in the compute dtype.
    """

    def __init__(self, channels: int = 512, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.channels = channels

    def build(self, features_shape: tuple[int | None, ...], probabilities_shape: tuple[int | None, ...]) -> None:
        kernel_shape = (features_shape[-1], self.channels)
        exact = {"dtype": exact_dtype(self), "autocast": False}
        self.kernel = self.add_weight(shape=kernel_shape, initializer="he_normal", name="kernel", **exact)
        self.bias = self.add_weight(shape=(self.channels,), initializer="zeros", name="bias", **exact)

    def call(self, features: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        features, probabilities = (tf.cast(x, exact_dtype(self)) for x in (features, probabilities))
        mass = tf.reduce_sum(probabilities, axis=(1, 2), keepdims=True)
        weights = probabilities / tf.maximum(mass, EPSILON)
        means = exact_product(functools.partial(tf.einsum, "bhwn,bhwc->bnc"), weights, features, axes=(1, 1))
        kernel = tf.convert_to_tensor(self.kernel)
        centers = exact_product(functools.partial(tf.einsum, "bnc,cd->bnd"), means, kernel, axes=(2, 0))
        return tf.cast(centers + self.bias, self.compute_dtype)

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], probabilities_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (probabilities_shape[0], probabilities_shape[-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels}
