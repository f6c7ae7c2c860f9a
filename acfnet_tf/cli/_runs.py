"""The runs that a command names, and the commands that may follow it. `flags` are the values of its mode's flags."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from absl.flags import FlagValues

from acfnet_tf.cli._entry import program
from acfnet_tf.config import PRESCRIBED, Experiment
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.paths import check_writable
from acfnet_tf.recipes import experiment_names, load_experiment
from acfnet_tf.settings import differences, override
from acfnet_tf.training.run_folder import CLASSES_FILE, CONFIG_FILE, read_classes, read_config
from acfnet_tf.visualization.panels import Run


def run_folder(flags: FlagValues) -> Path:
    """--run_dir, or the folder of --experiment; that of --model if only that is named."""
    if flags.run_dir or flags.experiment:
        return Path(flags.run_dir or Path("runs") / flags.experiment)
    return Path(flags.model).parent


def output_folder(flags: FlagValues, default: str, *, printed: bool = False) -> Path:
    """The folder for results, --output or `default` in the run folder, which can be written.

    Args:
        printed: what matters is printed too. The run folder may then be one that only others can write into.
    """
    folder = Path(flags.output or run_folder(flags) / default)
    return folder if printed and not flags.output else check_writable(folder)


def trained_model(flags: FlagValues, runtime: str = "tensorflow") -> tuple[Experiment, Predictor, ClassSet]:
    """The experiment as it was trained, with this command's overrides, its predictor and its classes.

    Raises:
        UserError: there is no such run, or another one; its model cannot be loaded.
    """
    folder = run_folder(flags)
    if flags.experiment:
        load_experiment(flags.experiment)  # a wrong name is the better message
    if (folder / CONFIG_FILE).exists():
        experiment = read_config(folder)
        if flags.experiment not in (experiment.name, None):
            raise ConfigError(f"{folder} holds a run of {experiment.name!r}, not of {flags.experiment!r}")
    elif flags.model:
        experiment = Experiment(name=Path(flags.model).stem)
    else:
        raise UserError(f"{folder} holds no run; train it first: {next_command('train', flags)}")
    experiment = override(experiment, flags.set)
    predictor = Predictor(flags.model or folder, experiment.evaluation, runtime=runtime)
    classes = read_classes(folder)
    if len(classes) != predictor.num_classes:
        if (folder / CLASSES_FILE).exists():
            raise ConfigError(
                f"{flags.model or folder} has {predictor.num_classes} classes,"
                f" but {folder / CLASSES_FILE} names {len(classes)}"
            )
        classes = numbered_classes(predictor.num_classes)
    return experiment, predictor, classes


def runs_to_show(flags: FlagValues, experiment: Experiment, predictor: Predictor, classes: ClassSet) -> list[Run]:
    """Those of --compare, then the command's own, under names that tell them apart. All label images in the same way.

    Raises:
        UserError: another number of classes, or other names.
    """
    paths = [*map(Path, flags.compare), Path(flags.model or run_folder(flags))]
    names = [path.name if path.is_dir() else f"{path.parent.name}/{path.stem}" for path in paths]
    names = [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    predictors = []
    for path in paths[:-1]:
        other = Predictor(path, experiment.evaluation, runtime=flags.runtime)
        folder = path if path.is_dir() else path.parent
        same = not (folder / CLASSES_FILE).exists() or read_classes(folder).names == classes.names
        if other.num_classes != predictor.num_classes or not same:
            raise UserError(f"--compare={path} was trained on other classes than {paths[-1]}")
        predictors.append(other)
    return [Run(name, each) for name, each in zip(names, [*predictors, predictor], strict=True)]


def command(*arguments: str) -> str:
    """A command of this program, as a user types it."""
    return shlex.join([*program(), *arguments])


def next_command(mode: str, flags: FlagValues, *more: str) -> str:
    """The command of another mode for the same run and data."""
    values = flags.flag_values_dict()
    same = [f"--{name}={values[name]}" for name in ("experiment", "run_dir", "model", "data_dir") if values.get(name)]
    return command(f"--mode={mode}", *same, *more)


def commands_of(flags: FlagValues, experiment: Experiment) -> list[str]:
    """The command that trains such a run, and this one. That of a model file alone is not known."""
    this = command(*sys.argv[1:])
    if not (run_folder(flags) / CONFIG_FILE).exists() or experiment.name not in experiment_names():
        return [this]
    settings = [f"--data_dir={flags.data_dir}"] if flags.data_dir else []
    for path, (_, value) in differences(load_experiment(experiment.name), experiment).items():
        section, _, name = path.partition(".")
        if section in ("model", "data", "train") and not (section == "model" and name in PRESCRIBED):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            settings.append(f"--set={path}={text}")
    return [command("--mode=train", f"--experiment={experiment.name}", *settings), this]
