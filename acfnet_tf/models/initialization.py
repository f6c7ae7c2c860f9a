"""The weights that a model begins with, and what they ask of the model: random ones, or those of a model of ours.

`acfnet_tf.pretrained` finds those of other programs.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from acfnet_tf.config import PRESCRIBED, ModelConfig
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.files import patiently
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.loading import load_model

NO_WEIGHTS = "none"
"""The value of `model.weights` for random ones."""

NAMES_SHOWN = 8
"""Of each kind of variables that were not taken, a report names as many; the others are counted."""


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
    """Finds the weights that `config.weights` asks for: "none", the folder of a run, or a `.keras` file of an ACFNet.

    Raises:
        UserError: there is no such run or file, it cannot be read, or its network is another one.
    """
    if config.weights == NO_WEIGHTS:
        return random_weights(config)
    path = Path(os.path.expanduser(config.weights))
    if not is_run_or_model(config.weights):
        raise UserError(
            f"model.weights: {config.weights} is neither {NO_WEIGHTS!r} nor a run folder or a .keras file of an ACFNet"
        )
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


def random_weights(config: ModelConfig) -> Initialization:
    """The weights that a new model has anyway."""
    config = dataclasses.replace(config, initialization="random weights")
    return Initialization(config, lambda model: "Initialised with random weights.")


def is_run_or_model(weights: str) -> bool:
    """Whether this value of `model.weights` is a folder, which is then taken for a run's, or a file of an ACFNet."""
    path = Path(os.path.expanduser(weights))

    def class_name() -> str:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))["class_name"]

    try:
        return weights != NO_WEIGHTS and (path.is_dir() or patiently(path, class_name) == ACFNet.__name__)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return False


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


def report(headline: str, kinds: Mapping[str, Sequence[str]]) -> str:
    """The headline, and a line for each kind of variables that there are: {kind: their names}."""
    lines = [f"  {kind}: {first_of(names, NAMES_SHOWN)}" for kind, names in kinds.items() if names]
    return "\n".join([headline, *lines])


def first_of(names: Iterable[str], shown: int = 4) -> str:
    """The first of the names, for a message, and how many more there are."""
    names = list(names)
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def count_in_layers(paths: Iterable[str]) -> list[str]:
    """The layers that have these variables, each with their number."""
    groups = itertools.groupby(paths, lambda path: path.split("/")[0])
    return [f"{layer} ({len(list(group))})" for layer, group in groups]
