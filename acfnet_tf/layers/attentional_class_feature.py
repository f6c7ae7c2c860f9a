"""The whole ACF module (Section 3.1, Figure 2) as one layer that any segmentation network can be given."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from acfnet_tf.layers.class_attention import ClassAttentionBlock
from acfnet_tf.layers.class_center import ClassCenterBlock
from acfnet_tf.layers.class_center_fusion import ClassCenterFusion
from acfnet_tf.layers.conv import Conv2D, check_channels_last
from acfnet_tf.layers.norm import SyncBatchNorm
from acfnet_tf.layers.precision import exact_dtype


@keras.saving.register_keras_serializable("acfnet_tf")
class AttentionalClassFeature(keras.layers.Layer):
    """Refines a feature map by what the coarse segmentation says of the classes in the image.

    Softmax of the coarse logits, class centers (Eq. 2), class attention (Eq. 3 or 5) with BatchNorm and ReLU,
    concatenation with the features, 1×1 convolution, BatchNorm and ReLU. Give the result to a second 1×1 convolution
    for the fine segmentation, and a loss to both.

    The softmax, the means and the attention are float32 whatever the dtype policy; BatchNorm is synchronised over
    replicas.

    Args:
        channels: of class centers, attentional class feature and output.
        combine: how a pixel combines the class centers: "sum" (Eq. 3), "concat" (Eq. 5), or None for the paper's
            ablation, which fuses the centers with the features without attention.
        epsilon: of BatchNorm.

    Call arguments:
        features: (B, H, W, C), any float dtype.
        coarse_logits: (B, H, W, N), any float dtype, without softmax. Logits of another size must be brought to that
            of the features, as by `ResizeLike`.

    Returns:
        (B, H, W, channels) in the compute dtype.

    Raises:
        ValueError: an unknown `combine`; features and logits of different height or width; a Keras set to
            channels-first.

    Example:
        >>> coarse = keras.layers.Conv2D(19, 1, dtype="float32")(features)
        >>> refined = acfnet_tf.layers.AttentionalClassFeature()(features, coarse)
        >>> fine = keras.layers.Conv2D(19, 1, dtype="float32")(refined)
    """

    def __init__(
        self,
        channels: int = 512,
        combine: Literal["sum", "concat"] | None = "sum",
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if combine not in ("sum", "concat", None):
            raise ValueError(f'combine must be "sum", "concat" or None, not {combine!r}')
        check_channels_last(keras.config.image_data_format())
        self.channels, self.combine, self.epsilon = channels, combine, epsilon
        common = {"dtype": self.dtype_policy}
        self.class_centers = ClassCenterBlock(channels, name="class_centers", **common)
        if combine is None:
            self.fusion = ClassCenterFusion(channels, name="fusion", **common)
        else:
            self.class_attention = ClassAttentionBlock(channels, combine, name="class_attention", **common)
            self.attention_norm = SyncBatchNorm(epsilon=epsilon, activation="relu", name="attention_norm", **common)
            self.fusion = Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal", name="fusion", **common)
        self.fusion_norm = SyncBatchNorm(epsilon=epsilon, activation="relu", name="fusion_norm", **common)

    def build(self, features_shape: tuple[int | None, ...], coarse_logits_shape: tuple[int | None, ...]) -> None:
        for size, logits_size in zip(features_shape[1:3], coarse_logits_shape[1:3], strict=True):
            if None not in (size, logits_size) and size != logits_size:
                raise ValueError(
                    f"features {features_shape} and coarse logits {coarse_logits_shape} must be of the same height and "
                    "width: ResizeLike()(coarse_logits, features) resizes"
                )
        centers_shape = (features_shape[0], coarse_logits_shape[-1], self.channels)
        outputs_shape = (*features_shape[:-1], self.channels)
        self.class_centers.build(features_shape, coarse_logits_shape)
        if self.combine is None:
            self.fusion.build(features_shape, centers_shape)
        else:
            self.class_attention.build(centers_shape, coarse_logits_shape)
            self.attention_norm.build(outputs_shape)
            self.fusion.build((*features_shape[:-1], self.channels + features_shape[-1]))
        self.fusion_norm.build(outputs_shape)
        self.built = True

    def call(self, features: tf.Tensor, coarse_logits: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        probabilities = tf.nn.softmax(tf.cast(coarse_logits, exact_dtype(self)))
        centers = self.class_centers(features, probabilities)
        if self.combine is None:
            fused = self.fusion(features, centers)
        else:
            attended = self.class_attention(centers, probabilities)
            attended = self.attention_norm(attended, training=training)
            fused = self.fusion(tf.concat([attended, tf.cast(features, self.compute_dtype)], axis=-1))
        return self.fusion_norm(fused, training=training)

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], coarse_logits_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*features_shape[:3], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "combine": self.combine, "epsilon": self.epsilon}
