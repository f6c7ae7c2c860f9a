"""The weights that a model begins with: what `model.weights` asks for, and what that asks of the model."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from acfnet_tf.config import PRESCRIBED, ModelConfig
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.files import patiently
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.create import create_model
from acfnet_tf.models.loading import load_model
from acfnet_tf.pretrained.find import WORDS, find_pretrained
from acfnet_tf.pretrained.pretrained import Pretrained, first_of

NAMES_SHOWN = 8
"""Of each kind of variables that were not taken; the others are counted."""


@dataclass(frozen=True)
class Initialization:
    """Where weights come from.

    Attributes:
        config: of the model, with everything that the weights prescribe.
        assign: gives the weights to a model of that configuration and returns a report for the user. Variables may be
            distributed ones, in cross-replica context. Raises UserError if the weights do not fit.
    """

    config: ModelConfig
    assign: Callable[[keras.Model], str]


def find_weights(config: ModelConfig) -> Initialization:
    """Finds the weights that `config.weights` asks for: a run or a model file of ours, or those of a backbone.

    Raises:
        UserError: they are not to be had, cannot be read, or are of another network.
    """
    path = Path(os.path.expanduser(config.weights))
    if (config.weights not in WORDS and path.is_dir()) or _is_acfnet_file(path):
        return _from_acfnet(config, path)
    found = find_pretrained(config.weights, config.backbone, config.backbone_width)
    if found is None:
        config = dataclasses.replace(config, initialization="random weights")
        return Initialization(config, lambda model: "Initialised with random weights.")
    config = dataclasses.replace(config, **found.settings, initialization=found.source)
    return Initialization(config, functools.partial(_take_layers, pretrained=found))


def pretrained_model(**settings: Any) -> ACFNet:
    """A new model with pretrained weights.

    Args:
        **settings: fields of `ModelConfig`: those of `ACFNet`, and `weights`, "imagenet" by default.

    Raises:
        UserError: as `find_weights`, or a choice that the model does not have.

    Example:
        >>> model = acfnet_tf.pretrained_model(backbone="resnet50", weights="imagenet", num_classes=5)
    """
    found = find_weights(ModelConfig(**{"weights": "imagenet"} | settings))
    model = create_model(found.config)
    found.assign(model)
    return model


def _is_acfnet_file(path: Path) -> bool:
    def class_name() -> str:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))["class_name"]

    try:
        return patiently(path, class_name) == ACFNet.__name__
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return False


def _from_acfnet(config: ModelConfig, path: Path) -> Initialization:
    source = load_model(path)
    if not isinstance(source, ACFNet):
        raise UserError(f"{path} holds a {type(source).__name__}, not an ACFNet")
    for name in ("backbone", "backbone_width"):
        theirs, ours = getattr(source, name), getattr(config, name)
        if theirs != ours:
            raise ConfigError(f"{path} has {name} {theirs}, this model {ours}; --set model.{name}={theirs}")
    settings = {name: getattr(source, name) for name in PRESCRIBED if name != "initialization"}
    return Initialization(
        dataclasses.replace(config, **settings, initialization=str(path)),
        functools.partial(_take_variables, source=source, name=str(path)),
    )


def _take_variables(model: ACFNet, source: ACFNet, name: str) -> str:
    """Takes the variables of the same path and shape: all, but for those that depend on the number of classes."""
    ours = {variable.path: variable for variable in model.variables}
    theirs = {variable.path: variable for variable in source.variables}
    common = [path for path in ours if path in theirs]
    taken = [path for path in common if ours[path].shape == theirs[path].shape]
    for path in taken:
        ours[path].assign(theirs[path].numpy())
    reshaped = [f"{path} {theirs[path].shape} → {ours[path].shape}" for path in common if path not in taken]
    headline = f"Initialised from {name}: {len(taken)} of {len(ours)} variables taken."
    if source.num_classes != model.num_classes:
        headline += f" It has {source.num_classes} classes, this model {model.num_classes}."
    return _report(
        headline,
        {
            "re-initialised, of another shape in the source": reshaped,
            "new, not in the source": _count(path for path in ours if path not in theirs),
            "left, only in the source": _count(path for path in theirs if path not in ours),
        },
    )


def _take_layers(model: ACFNet, pretrained: Pretrained) -> str:
    """Takes the layers of the backbone: all of them, exactly.

    Raises:
        UserError: a layer is missing, superfluous, or of another shape.
    """
    ours = {name: layer.weights for name in model.backbone_layers if (layer := model.get_layer(name)).weights}
    theirs = pretrained.layers
    shapes = {
        name: ([tuple(array.shape) for array in theirs[name]], [tuple(variable.shape) for variable in ours[name]])
        for name in sorted(ours.keys() & theirs.keys())
    }
    wrong = {
        "missing there": sorted(ours.keys() - theirs.keys()),
        "superfluous there": sorted(theirs.keys() - ours.keys()),
        "of another shape": [f"{name} {there} → {here}" for name, (there, here) in shapes.items() if there != here],
    }
    if any(wrong.values()):
        differences = "; ".join(f"{kind}: {first_of(names, NAMES_SHOWN)}" for kind, names in wrong.items() if names)
        raise UserError(f"{pretrained.source} does not fit {model.backbone} (layers {differences})")
    for name, variables in ours.items():
        for variable, array in zip(variables, theirs[name], strict=True):
            variable.assign(np.asarray(array, np.float32))
    others = [variable.path for variable in model.variables if variable.path.split("/")[0] not in ours]
    return _report(
        f"Initialised from {pretrained.source}: all {len(ours)} layers of {model.backbone} taken.",
        {"new, not in the source": _count(others), "left, only in the source": list(pretrained.unused)},
    )


def _report(headline: str, kinds: dict[str, list[str]]) -> str:
    return "\n".join(
        [headline, *(f"  {kind}: {first_of(names, NAMES_SHOWN)}" for kind, names in kinds.items() if names)]
    )


def _count(paths: Iterable[str]) -> list[str]:
    """The layers that have these variables, each with their number."""
    groups = itertools.groupby(paths, lambda path: path.split("/")[0])
    return [f"{layer} ({len(list(group))})" for layer, group in groups]
