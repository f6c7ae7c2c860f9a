"""The weights that a run begins with, and the network that they ask for, on all workers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from acfnet_tf.config import PRESCRIBED, Experiment, ModelConfig
from acfnet_tf.models.initialization import Initialization, find_weights
from acfnet_tf.settings import override_fields
from acfnet_tf.training.run_folder import has_begun, read_config
from acfnet_tf.training.strategy import Workers


def initialization_of_run(
    config: ModelConfig,
    run_dir: Path,
    workers: Workers,
    find: Callable[[ModelConfig], Initialization] = find_weights,
) -> Initialization:
    """The weights to begin with, which only the chief needs to have: the other workers are given its variables.

    Args:
        find: finds what `model.weights` names. By itself the core knows "none" and models of ours.

    Raises:
        UserError: as `find`.
    """
    start = Initialization(config, lambda model: "")
    if workers.is_chief and has_begun(run_dir):  # then the weights are in its checkpoint
        begun = read_config(run_dir).model
        prescribed = {name: getattr(begun, name) for name in PRESCRIBED}
        start = dataclasses.replace(start, config=dataclasses.replace(config, **prescribed))
    elif workers.is_chief:
        start = find(config)
    if workers.count == 1:
        return start
    text = workers.text_from_chief(json.dumps({name: getattr(start.config, name) for name in PRESCRIBED}))
    values = {f"model.{name}": value for name, value in json.loads(text).items()}
    agreed = override_fields(Experiment(name="", model=config), values).model
    return dataclasses.replace(start, config=agreed)
