"""The weights that a model begins with, wherever they are: what `model.weights` names."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import keras

from acfnet_tf.backbones import BACKBONES
from acfnet_tf.backbones.keras_networks import KERAS_NETWORKS, keras_network
from acfnet_tf.backbones.resnet import ARCHITECTURES
from acfnet_tf.config import ModelConfig
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.files import patiently
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.create import create_model
from acfnet_tf.models.initialization import Initialization
from acfnet_tf.pretrained.imagenet import APPLICATIONS, frame, imagenet_weights
from acfnet_tf.pretrained.keras_file import is_keras_file, read_keras_file
from acfnet_tf.pretrained.keras_hub import from_keras_hub
from acfnet_tf.pretrained.keras_resnet import layers_of, resnet_from_layers
from acfnet_tf.pretrained.own_model import is_run_or_model, weights_of_model
from acfnet_tf.pretrained.preprocessing import OF_KERAS_NETWORKS
from acfnet_tf.pretrained.pretrained import Pretrained
from acfnet_tf.pretrained.torch_efficientnet_lite import lite_from_torch
from acfnet_tf.pretrained.torch_file import read_torch_file
from acfnet_tf.pretrained.torch_resnet import resnet_from_torch
from acfnet_tf.settings import suggest

NO_WEIGHTS = "none"
"""The value of `model.weights` for random ones."""

WORDS = ("auto", "imagenet", NO_WEIGHTS)
KERAS_HUB = "keras_hub:"


def pretrained_model(**settings: Any) -> ACFNet:
    """A new model with pretrained weights.

    Args:
        **settings: fields of `ModelConfig`: those of `ACFNet`, and `weights`, "imagenet" by default.

    Raises:
        UserError: as `find_weights`, or a choice that the model does not have.

    Example:
        >>> model = acfnet_tf.pretrained_model(backbone="resnet50", weights="imagenet", num_classes=5)
    """
    start = find_weights(ModelConfig(**{"weights": "imagenet"} | settings))
    model = create_model(start.config)
    start.assign(model)
    return model


def find_weights(config: ModelConfig) -> Initialization:
    """The weights that `config.weights` asks for: of a run or a model file of ours, of a backbone, or random ones.

    Raises:
        UserError: they are not to be had, cannot be read, or are of another network.
    """
    if config.weights not in WORDS and is_run_or_model(config.weights):
        return weights_of_model(config)
    weights = find_pretrained(config.weights, config.backbone, config.backbone_width)
    if weights is None:
        random = dataclasses.replace(config, initialization="random weights")
        return Initialization(random, lambda model: "Initialised with random weights.")
    prescribed = dataclasses.replace(config, **weights.settings, initialization=weights.source)
    return Initialization(prescribed, weights.give_to)


def find_pretrained(weights: str, backbone: str, width: int = 64) -> Pretrained | None:
    """The weights of a backbone that `model.weights` names; None where training is to start from scratch.

    Args:
        weights: "none"; "imagenet"; "auto", which is "imagenet", or with a warning "none" where that is not to be had;
            "keras_hub:PRESET"; or a file of PyTorch (`.pth`, `.safetensors`) or Keras (`.keras`, `.weights.h5`,
            `.h5`), which is told by its content.
        width: `model.backbone_width`.

    Raises:
        UserError: they are not to be had, cannot be read, or are of another network.
    """
    if backbone not in BACKBONES:
        raise ConfigError(f"no backbone {backbone!r}. {suggest(backbone, BACKBONES)}")
    if weights == NO_WEIGHTS:
        return None
    if weights == "imagenet":
        return imagenet_weights(backbone, width)
    if weights == "auto":
        return _imagenet_or_warning(backbone, width)
    if weights.startswith(KERAS_HUB):
        return from_keras_hub(weights.removeprefix(KERAS_HUB), backbone)
    path = Path(os.path.expanduser(weights))
    if path.is_file():
        return _from_file(path, backbone, width)
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"model.weights: there is no file or run folder {weights}")
    raise ConfigError(
        f"model.weights is {', '.join(WORDS)}, {KERAS_HUB}PRESET, a file or a run folder, not {weights!r}. "
        f"{suggest(weights, WORDS)}"
    )


def _imagenet_or_warning(backbone: str, width: int) -> Pretrained | None:
    try:
        return imagenet_weights(backbone, width)
    except UserError as error:
        warning = (
            f"WARNING: training starts from scratch, and will not reach the numbers of the paper.\n{error}.\n"
            "docs/pretrained.md says how machines without network get weights. --set model.weights=imagenet stops "
            "instead of warning, --set model.weights=none does not try."
        )
        print(frame(warning), file=sys.stderr, flush=True)
        return None


def _from_file(path: Path, backbone: str, width: int) -> Pretrained:
    source = f"{path.name} (sha256 {patiently(path, lambda: _sha256(path))[:12]})"
    if is_keras_file(path):
        return _from_keras_file(path, backbone, width, source)
    if backbone in ARCHITECTURES:
        return resnet_from_torch(read_torch_file(path), backbone, source)
    if backbone == "efficientnet_lite0":
        return lite_from_torch(read_torch_file(path), source)
    raise UserError(f"{path} is no file of Keras, and PyTorch's are read for ResNets and efficientnet_lite0 only")


def _from_keras_file(path: Path, backbone: str, width: int, source: str) -> Pretrained:
    if backbone in ARCHITECTURES:
        return resnet_from_layers(read_keras_file(path, lambda: _application(path, backbone)), backbone, source)
    if backbone not in KERAS_NETWORKS:
        raise UserError(f"{path}: weights of {backbone} are not read from files, only from runs")
    model, settings = keras_network(backbone, width), OF_KERAS_NETWORKS[backbone]
    names = layers_of(model).keys()
    layers = read_keras_file(path, lambda: model, in_order=True)
    if lost := sorted(names - layers.keys()):
        raise UserError(f"{path} holds no {backbone}: it lacks {len(lost)} of {len(names)} layers, such as {lost[0]}")
    taken = {name: layers[name] for name in names}
    return Pretrained(source, taken, settings, [name for name in layers if name not in names])


def _application(path: Path, backbone: str) -> keras.Model:
    """The network of keras.applications without its classifier and with random weights."""
    if backbone not in APPLICATIONS:
        raise UserError(f"{path}: keras.applications, which numbers its layers like this, has no {backbone}")
    return getattr(keras.applications, APPLICATIONS[backbone])(include_top=False, weights=None)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
