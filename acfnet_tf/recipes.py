"""The recipes of experiments/, found by their files."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acfnet_tf.config import Experiment

_PACKAGED = Path(__file__).with_name("_experiments")
FOLDER = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "experiments"
"""A wheel has the recipes inside of the package, a checkout beside it."""


def recipe_files() -> dict[str, Path]:
    """The file of every recipe by its name, sorted. (`_small.py` is what the small twins have in common.)"""
    return {file.stem: file for file in sorted(FOLDER.glob("*.py")) if not file.stem.startswith("_")}


def experiment_names() -> list[str]:
    """Every experiment by name: each recipe, followed by its small twin."""
    return [name for recipe in recipe_files() for name in (recipe, f"{recipe}_small")]


def load_experiment(name: str, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment of that name, with overrides as on the command line.

    Args:
        name: of a file of `experiments/`, with `_small` appended for its small twin.
        overrides: strings "dotted.path=value".

    Raises:
        ConfigError: no such experiment, no such setting, or a value of the wrong type.

    Example:
        >>> load_experiment("acf_aspp", ["train.steps=80000"]).train.steps
        80000
    """
    # Here, as the help of the command line reads this file without the package.
    from acfnet_tf.errors import ConfigError
    from acfnet_tf.settings import override, suggest

    if name not in experiment_names():
        raise ConfigError(f"no experiment {name!r}. {suggest(name, experiment_names())}")
    experiment = runpy.run_path(str(recipe_files()[name.removesuffix("_small")]))["get_experiment"]()
    if name.endswith("_small"):
        experiment = runpy.run_path(str(FOLDER / "_small.py"))["small_twin"](experiment)
    return override(experiment, overrides)
