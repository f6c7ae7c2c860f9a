"""The weights of a model of ours: of a run folder, or of a `.keras` file of an ACFNet."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import zipfile
from pathlib import Path

from acfnet_tf.config import PRESCRIBED, ModelConfig
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.files import patiently
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.initialization import Initialization
from acfnet_tf.models.loading import load_model
from acfnet_tf.pretrained.report import count_in_layers, report


def is_run_or_model(weights: str) -> bool:
    """Whether this value of `model.weights` is a folder, which is then taken for a run's, or a file of an ACFNet."""
    path = Path(os.path.expanduser(weights))

    def class_name() -> str:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))["class_name"]

    try:
        return path.is_dir() or patiently(path, class_name) == ACFNet.__name__
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return False


def weights_of_model(config: ModelConfig) -> Initialization:
    """The weights of the run or file that `config.weights` names, of which `is_run_or_model` is true.

    Raises:
        UserError: the run has no model, it cannot be read, or its network is another one.
    """
    path = Path(os.path.expanduser(config.weights))
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
    return report(
        headline,
        {
            "re-initialised, of another shape in the source": reshaped,
            "new, not in the source": count_in_layers(path for path in ours if path not in theirs),
            "left, only in the source": count_in_layers(path for path in theirs if path not in ours),
        },
    )
