"""ACFNet: base network, ACF module and coarse-to-fine segmentation (Section 3.2, Figure 2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras

from acfnet_tf.backbones import READY_MADE, extract_features
from acfnet_tf.config import PIXEL_MEAN, PIXEL_STD
from acfnet_tf.layers import ASPP, AttentionalClassFeature, Conv2D, ConvNormAct, PyramidPooling, ResizeLike

COMBINE = {"acf_sum": "sum", "acf_concat": "concat", "class_center": None}
CLASS_FEATURES = (*COMBINE, None)
CONTEXTS = ("aspp", "psp", None)


@keras.saving.register_keras_serializable("acfnet_tf")
class ACFNet(keras.Model):
    """Semantic segmentation with class-level context. Every row of the paper's Tables 1 and 2 is a choice of arguments.

    ====================================== =========== ================
    row                                    `context`   `class_feature`
    ====================================== =========== ================
    ResNet-101 baseline                    None        None
    + class center                         None        "class_center"
    + ACF (concat)                         None        "acf_concat"
    + ACF (sum)                            None        "acf_sum"
    ResNet-101 + ASPP                      "aspp"      None
    ResNet-101 + ASPP + ACF                "aspp"      "acf_sum"
    ====================================== =========== ================

    Args:
        num_classes: N.
        backbone: "resnet101", or another one of `acfnet_tf.backbones.BACKBONES`.
        context: what stands between backbone and coarse segmentation: "aspp", or "psp" (pyramid pooling).
        class_feature: what the fine segmentation is given of the class centers; None: there is one segmentation, the
            base network's own.
        channels: of class centers, attentional class feature, ASPP and fusion.
        aspp_rates: dilation rates of ASPP.
        output_stride: of the backbone.
        backbone_width: of the backbone, relative to the original's 64: 32 halves the channels of all its layers.
        stride_in, stem, conv_bias, batch_norm_epsilon: variant of a ResNet; see `acfnet_tf.backbones.resnet`.
        pixel_mean, pixel_std: RGB in 0–255; the backbone is given (image − mean) / std.
        dtype: policy of all layers, such as "float32" or "mixed_bfloat16"; None: Keras's global one. Whatever it is,
            normalisation of the image, logits, probabilities and the means of class centers are float32.

    Call arguments:
        images: (B, H, W, 3) RGB in 0–255, any float or integer dtype, any H and W from 1 on. Normalisation is inside.

    Returns:
        A dict of float32 logits (B, H, W, num_classes): "fine" (the result), "coarse" (the base network's
        segmentation; not where `class_feature` is None) and "aux" (auxiliary supervision on the next-to-last stage).

    Raises:
        ValueError: an unknown choice.

    Example:
        >>> model = acfnet_tf.ACFNet(num_classes=19)
        >>> model(images)["fine"].shape
        TensorShape([1, 769, 769, 19])
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str = "resnet101",
        context: Literal["aspp", "psp"] | None = "aspp",
        class_feature: Literal["acf_sum", "acf_concat", "class_center"] | None = "acf_sum",
        channels: int = 512,
        aspp_rates: Sequence[int] = (12, 24, 36),
        output_stride: Literal[8, 16, 32] = 8,
        backbone_width: int = 64,
        stride_in: Literal["3x3", "1x1"] = "3x3",
        stem: Literal["7x7", "deep_64", "deep_128"] = "7x7",
        conv_bias: bool = False,
        batch_norm_epsilon: float = 1e-5,
        pixel_mean: Sequence[float] = PIXEL_MEAN,
        pixel_std: Sequence[float] = PIXEL_STD,
        dtype: str | dict[str, Any] | keras.DTypePolicy | None = None,
        **kwargs: Any,
    ) -> None:
        if context not in CONTEXTS:
            raise ValueError(f"context must be one of {CONTEXTS}, not {context!r}")
        if class_feature not in CLASS_FEATURES:
            raise ValueError(f"class_feature must be one of {CLASS_FEATURES}, not {class_feature!r}")
        if backbone in READY_MADE and context is not None:
            raise ValueError(f"{backbone} has its own context: set context to None")
        epsilon = batch_norm_epsilon

        with _dtype_policy(dtype):
            # === Base network: feature map, coarse and auxiliary segmentation ===
            images = keras.Input((None, None, 3), name="images")
            normalized = keras.layers.Normalization(
                mean=list(pixel_mean),
                variance=[deviation**2 for deviation in pixel_std],
                dtype="float32",
                name="normalization",
            )(images)
            base = extract_features(
                normalized,
                backbone,
                output_stride=output_stride,
                width=backbone_width,
                stride_in=stride_in,
                stem=stem,
                conv_bias=conv_bias,
                batch_norm_epsilon=epsilon,
            )
            features = base.features
            if context == "aspp":
                features = ASPP(channels, aspp_rates, epsilon=epsilon, name="aspp")(features)
            elif context == "psp":
                features = PyramidPooling(channels, epsilon=epsilon, name="psp")(features)
            auxiliary = ConvNormAct(channels // 2, 3, epsilon=epsilon, name="aux_conv")(base.auxiliary)
            aux = _classifier(num_classes, "aux")(auxiliary)

            # === ACF module ===
            if class_feature is None:
                outputs = {"fine": _classifier(num_classes, "fine")(features), "aux": aux}
            else:
                coarse = _classifier(num_classes, "coarse")(features)
                acf = AttentionalClassFeature(channels, COMBINE[class_feature], epsilon=epsilon, name="acf")
                refined = acf(features, coarse)
                outputs = {"fine": _classifier(num_classes, "fine")(refined), "coarse": coarse, "aux": aux}

            # === Functional model ===
            grids = dict.fromkeys(outputs, base.grid) | {"aux": base.auxiliary_grid}
            outputs = {
                head: ResizeLike(*grids[head], name=f"{head}_upsampled")(logits, images)
                for head, logits in outputs.items()
            }
            super().__init__(inputs=images, outputs=outputs, **kwargs)

        # === Config ===
        self.num_classes = num_classes
        self.backbone = backbone
        self.context = context
        self.class_feature = class_feature
        self.channels = channels
        self.aspp_rates = tuple(aspp_rates)
        self.output_stride = output_stride
        self.backbone_width = backbone_width
        self.stride_in = stride_in
        self.stem = stem
        self.conv_bias = conv_bias
        self.batch_norm_epsilon = batch_norm_epsilon
        self.pixel_mean = tuple(pixel_mean)
        self.pixel_std = tuple(pixel_std)
        self.backbone_layers = base.layer_names  # the names of those that pretrained weights are for

    @property
    def head_variables(self) -> list[keras.Variable]:
        """The trainable variables behind the backbone, which pretrained weights do not cover."""
        backbone = {id(variable) for name in self.backbone_layers for variable in self.get_layer(name).variables}
        return [variable for variable in self.trainable_variables if id(variable) not in backbone]

    def get_config(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "backbone": self.backbone,
            "context": self.context,
            "class_feature": self.class_feature,
            "channels": self.channels,
            "aspp_rates": self.aspp_rates,
            "output_stride": self.output_stride,
            "backbone_width": self.backbone_width,
            "stride_in": self.stride_in,
            "stem": self.stem,
            "conv_bias": self.conv_bias,
            "batch_norm_epsilon": self.batch_norm_epsilon,
            "pixel_mean": self.pixel_mean,
            "pixel_std": self.pixel_std,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> ACFNet:
        return cls(**config)


@contextlib.contextmanager
def _dtype_policy(dtype: str | dict[str, Any] | keras.DTypePolicy | None) -> Iterator[None]:
    """Keras's global policy for as long as layers are made."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(keras.dtype_policies.get(dtype))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _classifier(num_classes: int, head: str) -> Conv2D:
    return Conv2D(num_classes, 1, dtype="float32", name=f"{head}_logits")
