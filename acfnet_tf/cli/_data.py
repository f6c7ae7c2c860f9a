"""The data and images that a command names. `flags` are the values of its mode's flags."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from absl.flags import FlagValues

from acfnet_tf.cli._runs import run_folder
from acfnet_tf.config import Experiment
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.importers.open import open_data
from acfnet_tf.importers.splits import parts_of
from acfnet_tf.label_files import plan
from acfnet_tf.paths import unified
from acfnet_tf.recipes import load_experiment


def open_splits(flags: FlagValues) -> tuple[Experiment, DataSource, Sequence[str]]:
    """The experiment, its data, and the splits that the command is about: --split, or all that there are."""
    experiment = load_experiment(flags.experiment, flags.set)
    source = open_data(experiment.data, flags.data_dir)
    print(f"Data: {source.name}. {source.note}".strip())
    used = [*parts_of(source, experiment.data.train_split), *parts_of(source, experiment.data.val_split)]
    # Those that are used may not be among those that have names, such as train[:90%] of TFDS.
    splits = [flags.split] if flags.split else source.splits if set(used) <= set(source.splits) else used
    return experiment, source, tuple(dict.fromkeys(part for split in splits for part in parts_of(source, split)))


def split_samples(flags: FlagValues, experiment: Experiment, classes: ClassSet) -> tuple[DataSource, list[Sample], str]:
    """The data, the samples of the split that the command names, and its name.

    Raises:
        ConfigError: the command itself says which classes the masks have, and they are not the model's.
    """
    split = flags.split or experiment.data.val_split
    says_classes = any(setting.startswith(("data.classes=", "data.masks=", "data.format=")) for setting in flags.set)
    source = open_data(experiment.data, flags.data_dir, None if says_classes else classes)
    if source.classes.names != classes.names:
        raise ConfigError(f"{source.name} has other classes than {run_folder(flags)} was trained on (classes.json)")
    print(f"Data: {source.name}. {source.note}".strip())
    return source, source.list_samples(split), split


def images_named(
    flags: FlagValues, experiment: Experiment, classes: ClassSet, output: Path | None = None, figure: str = ""
) -> tuple[list[Sample], ClassSet]:
    """What --input names: a file, a folder, or an image of the split by its name; the whole split without --input.

    Args:
        output: folder for figures. What is in it is no input, unless it is the folder of the input.
        figure: the kind of figure that will be drawn there.

    Raises:
        UserError: there are no such images, or a figure would overwrite one of them.
    """
    if flags.input and (input := Path(flags.input)).exists():
        is_inside = output and input.is_dir() and output.resolve() != input.resolve()
        planned = plan(input, output if is_inside else None)
        if output:
            names = (figure, *(f"{stem}_{figure}" for _, stem in planned))
            drawn = {(output / f"{name}.png").resolve() for name in names}
            if lost := drawn & {file.resolve() for file, _ in planned}:
                raise UserError(f"{min(lost)} would be overwritten by a figure: choose another --output than {output}")
        return [Sample(str(stem), str(file), None) for file, stem in planned], classes
    source, samples, split = split_samples(flags, experiment, classes)
    if not flags.input:
        return samples, source.classes
    names = [sample.name for sample in samples]
    if (wanted := unified(flags.input)) not in names:
        near = difflib.get_close_matches(wanted, names) or names[:2]
        raise UserError(
            f"--input={flags.input}: no such file or folder, and no image of that name in {split} of {source.name};"
            f" there are, for example, {', '.join(near)}"
        )
    return [samples[names.index(wanted)]], source.classes
