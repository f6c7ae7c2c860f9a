"""Fusion of the class centers with the feature map without attention (Section 4.3.1, "Ablation for Class Center")."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("acfnet_tf")
class ClassCenterFusion(keras.layers.Layer):
    """conv1x1 over the concatenation of the feature map with all class centers, the same at every pixel.

    The ablation reshapes the centers to N·C' channels, upsamples them to (B, H, W, N·C') and concatenates them with the
    feature map. Being constant over the image, after a 1×1 convolution they add one vector per image; that vector is
    what is computed here, without approximation:

        conv1x1(concat(F, centers))[j] = F[j] · W_F + flatten(centers) · W_centers

    Args:
        channels: of the output.

    Call arguments:
        features: (B, H, W, C).
        centers: (B, N, C').

    Returns:
        (B, H, W, channels) in the compute dtype.
    """

    def __init__(self, channels: int = 512, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, features_shape: tuple[int | None, ...], centers_shape: tuple[int | None, ...]) -> None:
        inputs = features_shape[-1] + centers_shape[1] * centers_shape[2]
        self.kernel = self.add_weight(shape=(inputs, self.channels), initializer="he_normal", name="kernel")

    def call(self, features: tf.Tensor, centers: tf.Tensor) -> tf.Tensor:
        feature_channels = features.shape[-1]
        flat = tf.reshape(centers, (-1, centers.shape[1] * centers.shape[2]))
        per_image = tf.matmul(flat, self.kernel[feature_channels:])
        per_pixel = tf.nn.conv2d(features, self.kernel[None, None, :feature_channels], 1, "VALID")
        return per_pixel + per_image[:, None, None, :]

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], centers_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*features_shape[:3], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels}
