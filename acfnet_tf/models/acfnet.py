"""ACFNet: base network, ACF module and coarse-to-fine segmentation (Section 3.2, Figure 2)."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import keras

from acfnet_tf.backbones import SEGFORMERS, build_backbone
from acfnet_tf.config import ClassFeature, Context, LossConfig, ModelConfig, OutputStride, Stem, StrideIn
from acfnet_tf.heads import AUX, COARSE, FINE, heads_in, ignore_label
from acfnet_tf.layers import ASPP, AttentionalClassFeature, Conv2D, ConvNormAct, PyramidPooling, ResizeLike
from acfnet_tf.losses import HeadLosses, head_losses

COMBINE = dict(zip(get_args(ClassFeature), ("sum", "concat", None), strict=True))
ARGUMENTS = tuple(
    field.name for field in dataclasses.fields(ModelConfig) if field.name not in ("weights", "initialization")
)
"""Those of `ACFNet` that describe the network: it has their names and defaults from `ModelConfig`."""

NORMALIZATION = "normalization"


@keras.saving.register_keras_serializable("acfnet_tf")
class Normalization(keras.layers.Normalization):
    """Keras's layer, which also carries what its `ACFNet` is: clones of a model know nothing but its layers."""

    def __init__(self, network: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"network": self.network}


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
        backbone: "resnet101", or another one of `acfnet_tf.backbones.BACKBONES`; or a functional model of Keras with
            one image as input and feature maps as output, whose weights are copied (`acfnet_tf.backbones.dilated`).
        context: what stands between backbone and coarse segmentation: "aspp", or "psp" (pyramid pooling).
        class_feature: what the fine segmentation is given of the class centers; None: there is one segmentation, the
            base network's own.
        channels: of class centers, attentional class feature, ASPP and fusion.
        aspp_rates: dilation rates of ASPP.
        output_stride: of the backbone.
        backbone_width: of the backbone, relative to the original's 64: 32 halves the channels of all its layers.
        stride_in, stem, conv_bias, batch_norm_epsilon: variant of a ResNet; see `acfnet_tf.backbones.resnet`.
        pixel_mean, pixel_std: RGB in 0–255; the backbone is given (image − mean) / std. A model with its own
            preprocessing wants 0 and 1.
        dtype: policy of all layers, such as "float32" or "mixed_bfloat16"; None: Keras's global one. Whatever it is,
            normalisation of the image, logits, probabilities and the means of class centers are float32.

    Call arguments:
        images: (B, H, W, 3) RGB in 0–255, any float or integer dtype, any H and W from 1 on. Normalisation is inside.

    Returns:
        A dict of float32 logits (B, H, W, num_classes): "fine" (the result), "coarse" (the base network's
        segmentation; not where `class_feature` is None) and "aux" (auxiliary supervision on the next-to-last stage).

    Raises:
        ValueError: an unknown choice, or a backbone that cannot be made fit.

    Example:
        >>> model = acfnet_tf.ACFNet(num_classes=19)
        >>> model(images)["fine"].shape
        TensorShape([1, 769, 769, 19])
        >>> model.compile(acfnet_tf.L2SGD(0.01, momentum=0.9, l2=5e-4))
        >>> model.fit(dataset)  # of images, and labels (B, H, W) with 255 where a pixel does not count
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and isinstance(keras.tree.flatten(args[0])[0], keras.KerasTensor):
            self._clone(*args, **kwargs)
        else:
            ACFNet.__signature__.bind(*args, **kwargs)  # It refuses what is too much by the name that users know.
            self._assemble(*args, **kwargs)

    def _assemble(
        self,
        num_classes: int = 19,
        backbone: str | keras.Model = ModelConfig.backbone,
        context: Context | None = ModelConfig.context,
        class_feature: ClassFeature | None = ModelConfig.class_feature,
        channels: int = ModelConfig.channels,
        aspp_rates: Sequence[int] = ModelConfig.aspp_rates,
        output_stride: OutputStride = ModelConfig.output_stride,
        backbone_width: int = ModelConfig.backbone_width,
        stride_in: StrideIn = ModelConfig.stride_in,
        stem: Stem = ModelConfig.stem,
        conv_bias: bool = ModelConfig.conv_bias,
        batch_norm_epsilon: float = ModelConfig.batch_norm_epsilon,
        pixel_mean: Sequence[float] = ModelConfig.pixel_mean,
        pixel_std: Sequence[float] = ModelConfig.pixel_std,
        dtype: str | dict[str, Any] | keras.DTypePolicy | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in ARGUMENTS}
        if context not in (*get_args(Context), None):
            raise ValueError(f"context must be one of {(*get_args(Context), None)}, not {context!r}")
        if class_feature not in (*COMBINE, None):
            raise ValueError(f"class_feature must be one of {(*COMBINE, None)}, not {class_feature!r}")
        if backbone in SEGFORMERS and context is not None:
            raise ValueError(f"{backbone} has its own context: set context to None")
        epsilon = batch_norm_epsilon

        with _dtype_policy(dtype):
            # === Base network: feature map, coarse and auxiliary segmentation ===
            images = keras.Input((None, None, 3), name="images")
            variance = [deviation**2 for deviation in pixel_std]
            normalization = Normalization(mean=list(pixel_mean), variance=variance, dtype="float32", name=NORMALIZATION)
            base = build_backbone(
                normalization(images),
                backbone,
                output_stride=output_stride,
                width=backbone_width,
                stride_in=stride_in,
                stem=stem,
                conv_bias=conv_bias,
                batch_norm_epsilon=epsilon,
            )
            features = base.last
            if context == "aspp":
                features = ASPP(channels, aspp_rates, epsilon=epsilon, name="aspp")(features)
            elif context == "psp":
                features = PyramidPooling(channels, epsilon=epsilon, name="psp")(features)
            auxiliary = ConvNormAct(channels // 2, 3, epsilon=epsilon, name=f"{AUX}_conv")(base.next_to_last)
            aux = _classifier(num_classes, AUX)(auxiliary)

            # === ACF module ===
            if class_feature is None:
                outputs = {FINE: _classifier(num_classes, FINE)(features), AUX: aux}
            else:
                coarse = _classifier(num_classes, COARSE)(features)
                acf = AttentionalClassFeature(channels, COMBINE[class_feature], epsilon=epsilon, name="acf")
                refined = acf(features, coarse)
                outputs = {FINE: _classifier(num_classes, FINE)(refined), COARSE: coarse, AUX: aux}

            # === Functional model ===
            grids = dict.fromkeys(outputs, base.grid) | {AUX: base.next_to_last_grid}
            outputs = {
                head: ResizeLike(*grids[head], name=f"{head}_upsampled")(logits, images)
                for head, logits in outputs.items()
            }
            super().__init__(inputs=images, outputs=outputs, name=name, trainable=trainable)

        # === Config ===
        if isinstance(backbone, keras.Model):
            arguments["backbone"] = keras.saving.serialize_keras_object(backbone)
        arguments["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        about = {"arguments": arguments, "backbone_layers": sorted(base.weight_layers)}
        self._keep(json.dumps(about, default=lambda array: array.tolist()))

    def _clone(self, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        """What `keras.models.clone_model` wants of a class: a model of layers that are there."""
        network = keras.Model(inputs, outputs).get_layer(NORMALIZATION).network
        with _dtype_policy(json.loads(network)["arguments"]["dtype"]):
            super().__init__(inputs, outputs, **kwargs)
        self._keep(network)

    def _keep(self, network: str) -> None:
        """Keeps what the model was made of: every argument as an attribute, a model as a backbone by its name."""
        self.get_layer(NORMALIZATION).network = network
        self.backbone_layers = frozenset(json.loads(network)["backbone_layers"])
        for name, value in self.get_config().items():
            if name in ARGUMENTS:
                setattr(self, name, value["config"]["name"] if isinstance(value, dict) else value)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = "auto",
        loss_weights: Any = None,
        metrics: Any = "auto",
        **options: Any,
    ) -> None:
        """As for every Keras model, but that `fit` takes the same labels, (B, H, W), for all heads.

        Args:
            optimizer: such as `acfnet_tf.L2SGD`.
            loss: "auto" is the paper's (Eq. 4) with equal class weights, where 255 (65535 for more than 254 classes)
                labels a pixel that does not count; the fine head weighs 1 if it is without a coarse one. The result of
                `acfnet_tf.losses.head_losses` has class weights and online bootstrapping. Or whatever Keras takes.
            loss_weights: of the heads, instead of those of the loss.
            metrics: "auto" is the mean IoU of the coarse and the fine segmentation if the loss is ours, or else none.
            **options: as of Keras.
        """
        if isinstance(loss, str) and loss == "auto":
            loss = head_losses(LossConfig(), self.output, ignore_label=ignore_label(self.num_classes))
            if COARSE not in self.output:
                loss.weights[FINE] = 1.0
        ours = isinstance(loss, HeadLosses)
        if isinstance(metrics, str) and metrics == "auto":
            about = {"ignore_class": ours and loss.ignore_label, "sparse_y_pred": False, "name": "mean_iou"}
            heads = heads_in(self.output) if ours else ()
            metrics = {head: [keras.metrics.MeanIoU(self.num_classes, **about)] for head in heads} or None
        if ours:
            loss, loss_weights = loss.losses, loss_weights or loss.weights
        super().compile(optimizer, loss, loss_weights, metrics, **options)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model or a clone as the original was."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return super().compute_loss(x, _for_all_heads(y, y_pred), y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return super().compute_metrics(x, _for_all_heads(y, y_pred), y_pred, sample_weight)

    @property
    def head_variables(self) -> list[keras.Variable]:
        """The trainable variables behind the backbone, which pretrained weights do not cover."""
        backbone = {id(variable) for name in self.backbone_layers for variable in self.get_layer(name).variables}
        return [variable for variable in self.trainable_variables if id(variable) not in backbone]

    def get_config(self) -> dict[str, Any]:
        arguments = json.loads(self.get_layer(NORMALIZATION).network)["arguments"]
        tuples = {name: tuple(value) for name, value in arguments.items() if isinstance(value, list)}
        return arguments | tuples | {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> ACFNet:
        if isinstance(config.get("backbone"), dict):
            config = config | {"backbone": keras.saving.deserialize_keras_object(config["backbone"], custom_objects)}
        return cls(**config)


_signature = inspect.signature(ACFNet._assemble)
# Keras hands the layers of a clone to a class whose constructor takes anything; people are shown what it takes.
ACFNet.__signature__ = _signature.replace(parameters=list(_signature.parameters.values())[1:])


def _for_all_heads(labels: Any, logits: Mapping[str, Any]) -> Any:
    """The labels for each head, if they are given once."""
    return labels if labels is None or isinstance(labels, Mapping) else dict.fromkeys(logits, labels)


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
