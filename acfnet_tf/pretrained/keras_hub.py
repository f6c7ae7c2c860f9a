"""Presets of keras_hub, which bring the preprocessing along."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from acfnet_tf.backbones.resnet import ARCHITECTURES
from acfnet_tf.backbones.segformer import SEGFORMERS
from acfnet_tf.errors import UserError, first_line, needs_extra
from acfnet_tf.pretrained.imagenet import impatient_network
from acfnet_tf.pretrained.keras_resnet import resnet_from_keras
from acfnet_tf.pretrained.preprocessing import IMAGENET_RGB
from acfnet_tf.pretrained.pretrained import Pretrained

PRESETS_PAGE = "https://keras.io/keras_hub/presets/"


def from_keras_hub(preset: str, backbone: str) -> Pretrained:
    """The weights of a preset, with the preprocessing that it prescribes.

    Args:
        preset: a name such as "resnet_50_imagenet", a handle such as "hf://timm/resnet50.a1_in1k", or a folder.

    Raises:
        UserError: keras_hub is not installed or cannot load the preset, or it is another network.
    """
    known = (*ARCHITECTURES, *SEGFORMERS)
    if backbone not in known:
        raise UserError(f"presets of keras_hub are for {', '.join(known)}, not for {backbone}")
    with needs_extra("keras_hub", f"keras_hub:{preset}"):
        import keras_hub
    try:
        with impatient_network():
            model = keras_hub.models.Backbone.from_preset(preset)
            source = f"keras_hub {preset}"
            if backbone in SEGFORMERS:
                weights = segformer_from_keras(model, source)
            else:
                weights = resnet_from_keras(model, backbone, source)
            return dataclasses.replace(weights, settings={**weights.settings, **_preprocessing(preset)})
    except UserError:
        raise
    except Exception as error:  # kagglehub, huggingface_hub, requests and Keras each raise their own.
        raise UserError(
            f"cannot load keras_hub:{preset} ({first_line(error)}): names are listed at {PRESETS_PAGE}; "
            "without network, give keras_hub:FOLDER with the folder of a downloaded preset"
        ) from error


def segformer_from_keras(model: keras.Model, source: str) -> Pretrained:
    """The encoder of a keras_hub `MiTBackbone` or `SegFormerBackbone`, for the SegFormer of that size.

    Its layers have our names, all but the LayerNorms behind the stages, whose names are counted.
    """
    encoder = getattr(model, "image_encoder", model)
    norms = (layer for layer in encoder.layers if isinstance(layer, keras.layers.LayerNormalization))
    names = {norm: f"encoder_norm_{stage}" for stage, norm in enumerate(norms)}
    layers = {names.get(layer, layer.name): layer.get_weights() for layer in encoder.layers if layer.weights}
    return Pretrained(source, layers, IMAGENET_RGB, () if encoder is model else ("its decoder",))


def _preprocessing(preset: str) -> dict[str, tuple[float, ...]]:
    """Mean and deviation, from keras_hub's `rgb * scale + offset`; nothing where the preset says nothing."""
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except FileNotFoundError:  # A folder that `Backbone.save_to_preset` made has none.
        return {}
    if converter.scale is None:
        return {}
    deviations = [1 / scale for scale in _three(converter.scale)]
    means = [-offset * one for offset, one in zip(_three(converter.offset or 0), deviations, strict=True)]
    return {"pixel_mean": tuple(means), "pixel_std": tuple(deviations)}


def _three(value: float | Sequence[float]) -> list[float]:
    return [float(channel) for channel in value] if isinstance(value, (list, tuple)) else [float(value)] * 3
