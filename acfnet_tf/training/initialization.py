"""The weights that a run begins with, and the network that they ask for, on all workers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from acfnet_tf.config import PRESCRIBED, ModelConfig
from acfnet_tf.models.initialization import Initialization
from acfnet_tf.training.run_folder import has_begun, read_config
from acfnet_tf.training.workers import Workers


def initialization_of_run(
    config: ModelConfig, run_dir: Path, workers: Workers, find: Callable[[ModelConfig], Initialization]
) -> Initialization:
    """The weights to begin with, which only the chief needs to have: the other workers are given its variables.

    Args:
        run_dir: the run folder. A run that has begun has its weights in its checkpoint.
        workers: all of them must call it.

    Raises:
        UserError: as `find`.
    """
    if not workers.is_chief:
        initialization = Initialization(config, lambda model: "")
    elif has_begun(run_dir):
        begun = read_config(run_dir).model
        prescribed = {name: getattr(begun, name) for name in PRESCRIBED}
        initialization = Initialization(dataclasses.replace(config, **prescribed), lambda model: "")
    else:
        initialization = find(config)
    if workers.count == 1:
        return initialization
    prescribed = {name: getattr(initialization.config, name) for name in PRESCRIBED}
    prescribed = json.loads(workers.text_from_chief(json.dumps(prescribed)))
    return dataclasses.replace(initialization, config=dataclasses.replace(config, **prescribed))
