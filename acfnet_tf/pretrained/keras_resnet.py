"""ResNets as keras.applications and keras_hub name them, under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.preprocessing import IMAGENET_RGB
from acfnet_tf.pretrained.pretrained import Pretrained
from acfnet_tf.pretrained.report import first_of
from acfnet_tf.pretrained.resnet_layout import refuse_other_depths, resnet_units

CAFFE_RGB = {"pixel_mean": (123.68, 116.779, 103.939), "pixel_std": (1.0, 1.0, 1.0)}
"""The preprocessing of keras.applications; its channels are blue, green, red."""

_UNIT = re.compile(r"(?P<package>conv|stack)(?P<stage>\d)_block(?P<block>\d+)_(?P<index>\d)_(conv|bn)")
_STEM = re.compile(r"conv1_(conv|bn)")

_FIRST = {"conv": (2, 1), "stack": (0, 0)}
"""The numbers of the first stage and of its first block in keras.applications (conv2_block1_1_conv) and in keras_hub
(stack0_block0_1_conv)."""
_SETTINGS = {
    "conv": {"stride_in": "1x1", "conv_bias": True, "batch_norm_epsilon": 1.001e-5, "stem": "7x7", **CAFFE_RGB},
    "stack": {"stride_in": "3x3", "conv_bias": False, "batch_norm_epsilon": 1e-5, "stem": "7x7", **IMAGENET_RGB},
}


def resnet_from_keras(model: keras.Model, backbone: str, source: str) -> Pretrained:
    """The backbone in a ResNet of keras.applications or keras_hub, or in a model that contains one.

    Raises:
        UserError: it is no such ResNet, one of another depth, or a variant that our networks do not have.
    """
    if pools := [layer.name for layer in _flat(model) if isinstance(layer, keras.layers.AveragePooling2D)]:
        reason = f"averages in its shortcuts (ResNet-D, {pools[0]}), which the backbones here do not have"
        raise UserError(f"{source} {reason}: take a plain {backbone}")
    return resnet_from_layers(layers_of(model), backbone, source)


def layers_of(model: keras.Model) -> dict[str, list[np.ndarray]]:
    """{layer: its weights} of all layers that have any, also of models in the model."""
    return {layer.name: layer.get_weights() for layer in _flat(model) if layer.weights}


def resnet_from_layers(layers: Mapping[str, Sequence[np.ndarray]], backbone: str, source: str) -> Pretrained:
    """Does as `resnet_from_keras`, from {layer: its weights} under the names of keras.applications or keras_hub.

    Raises:
        UserError: as there; weights are missing, or convolutions are left over.
    """
    packages = [place["package"] for name in layers if (place := _UNIT.fullmatch(name))]
    others = [name for name in layers if not (_UNIT.fullmatch(name) or _STEM.fullmatch(name))]
    if any(name.endswith(("preact_bn", "pre_activation_bn")) for name in others):
        raise UserError(f"{source} holds a ResNetV2 (pre-activation), which is no {backbone}: take a ResNet")
    if not packages:
        known = "the names of keras.applications or keras_hub"
        raise UserError(f"{source} holds no ResNet under {known}, but the layers {first_of(others)}")
    package = packages[0]
    units = {_our_name(name, package): name.rpartition("_")[0] for name in layers if name not in others}
    refuse_other_depths(units, backbone, source)

    missing = [f"{unit}_{half}" for unit in units.values() for half in ("conv", "bn") if f"{unit}_{half}" not in layers]
    missing += [name for name in resnet_units(backbone) if name not in units]
    if missing:
        raise UserError(f"{source} lacks {len(missing)} layers of a {backbone}: {first_of(missing)}")
    convolutions = [name for name in others if any(np.ndim(array) == 4 for array in layers[name])]
    if convolutions:
        raise UserError(f"{source} has layers that a {backbone} has not: {first_of(convolutions)}")

    ours = {name: [*layers[f"{unit}_conv"], *layers[f"{unit}_bn"]] for name, unit in units.items()}
    if package == "conv":  # Its images are blue, green, red.
        ours["stem_conv1"][0] = ours["stem_conv1"][0][:, :, ::-1]
    return Pretrained(source, ours, _SETTINGS[package], others)


def _flat(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers, with those of models among them in their place."""
    return [part for layer in model.layers for part in (_flat(layer) if isinstance(layer, keras.Model) else [layer])]


def _our_name(name: str, package: str) -> str:
    """The unit of convolution and BatchNorm that has this layer."""
    place = _UNIT.fullmatch(name)
    if not place:
        return "stem_conv1"
    first_stage, first_block = _FIRST[package]
    role = "shortcut" if place["index"] == "0" else f"conv{place['index']}"
    return f"stage{int(place['stage']) - first_stage + 1}_block{int(place['block']) - first_block + 1}_{role}"
