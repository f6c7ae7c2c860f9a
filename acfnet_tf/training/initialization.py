"""The weights that a run begins with, and the network that they ask for, on all workers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from acfnet_tf.config import PRESCRIBED, Experiment, ModelConfig
from acfnet_tf.models.weights import Initialization, find_weights
from acfnet_tf.settings import override_fields
from acfnet_tf.training.run_folder import has_begun, read_config
from acfnet_tf.training.strategy import Workers


def initialization_of_run(config: ModelConfig, run_dir: Path, workers: Workers) -> Initialization:
    """The weights to begin with, which only the chief needs to have: the other workers are given its variables.

    Raises:
        UserError: as `find_weights`.
    """
    found = _find(config, run_dir) if workers.is_chief else Initialization(config, lambda model: "")
    if workers.count == 1:
        return found
    prescribed = workers.text_from_chief(json.dumps({name: getattr(found.config, name) for name in PRESCRIBED}))
    values = {f"model.{name}": value for name, value in json.loads(prescribed).items()}
    agreed = override_fields(Experiment(name="", model=config), values).model
    return dataclasses.replace(found, config=agreed)


def _find(config: ModelConfig, run_dir: Path) -> Initialization:
    """The weights that the configuration asks for. A run that has begun has them in its checkpoint."""
    if not has_begun(run_dir):
        return find_weights(config)
    begun = read_config(run_dir).model
    prescribed = {name: getattr(begun, name) for name in PRESCRIBED}
    return Initialization(dataclasses.replace(config, **prescribed), lambda model: "")
