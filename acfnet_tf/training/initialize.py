"""Fine-tuning: a new model starts from the weights of another run, also where its classes are others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import keras

from acfnet_tf.config import UserError
from acfnet_tf.inference.loading import load_model

NAMES_SHOWN = 8
"""Of each kind of variables that were not taken; the others are counted."""


def initialize_from(model: keras.Model, source: str | Path) -> str:
    """Gives `model` the values of another ACFNet's variables of the same path and shape; its others stay as they are.

    Args:
        model: to be initialised; its variables may be distributed ones, in cross-replica context.
        source: a run folder or a `.keras` file.

    Returns:
        A report for the user: how many variables were taken, and the names of those that were not.

    Raises:
        UserError: there is no such model, or no variable of its backbone fits.
    """
    ours = {variable.path: variable for variable in model.variables}
    theirs = {variable.path: variable for variable in load_model(source).variables}
    common = [path for path in ours if path in theirs]
    taken = [path for path in common if ours[path].shape == theirs[path].shape]
    if not any(path.startswith(("stem_", "stage")) for path in taken):
        raise UserError(f"cannot initialise from {source}: no variable of its backbone has our name and shape")
    for path in taken:
        ours[path].assign(theirs[path].numpy())

    reshaped = [f"{path} {theirs[path].shape} → {ours[path].shape}" for path in common if path not in taken]
    lines = [f"Initialised from {source}: {len(taken)} of {len(ours)} variables taken."]
    for kind, names in (
        ("re-initialised, of another shape in the source", reshaped),
        ("new, not in the source", _layers(path for path in ours if path not in theirs)),
        ("left, only in the source", _layers(path for path in theirs if path not in ours)),
    ):
        if names:
            more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            lines.append(f"  {kind}: {', '.join(names[:NAMES_SHOWN])}{more}")
    return "\n".join(lines)


def _layers(paths: Iterable[str]) -> list[str]:
    """The layers that have these variables, each with their number."""
    groups = itertools.groupby(paths, lambda path: path.split("/")[0])
    return [f"{layer} ({len(list(group))})" for layer, group in groups]
