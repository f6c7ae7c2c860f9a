"""The command line, and the runs, data and images that it names."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acfnet_tf.config import PRESCRIBED, Experiment
from acfnet_tf.data.classes import ClassSet, numbered_classes
from acfnet_tf.data.listing import unified
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.importers.open import open_data
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.label_files import plan
from acfnet_tf.recipes import experiment_names, load_experiment
from acfnet_tf.settings import differences, override
from acfnet_tf.training.run_folder import CLASSES_FILE, CONFIG_FILE, read_classes, read_config
from acfnet_tf.visualization.panels import Run


@dataclass(frozen=True)
class Request:
    """The command line; see `main.py --help`."""

    experiment: str | None = None
    overrides: Sequence[str] = ()
    data_dir: str | None = None
    run_dir: str | None = None
    model: str | None = None
    split: str | None = None
    input: str | None = None
    output: str | None = None
    submission: bool = False
    images: int | None = None
    compare: Sequence[str] = ()
    pixels: Sequence[str] = ()
    classes: Sequence[str] = ()
    report: bool = False
    init_from: str | None = None
    cluster: Sequence[str] = ()
    worker: int | None = None
    runtime: str = "tensorflow"
    format: str = "saved_model"
    quantize: str | None = None
    what: str | None = None
    size: str = "769x769"

    @property
    def folder(self) -> Path:
        """The run folder; that of --model if only that is named."""
        if self.run_dir or self.experiment:
            return Path(self.run_dir or Path("runs") / self.experiment)
        return Path(self.model).parent


def open_splits(request: Request) -> tuple[Experiment, DataSource, Sequence[str]]:
    """The experiment, its data, and the splits that the command is about: --split, or all that there are."""
    experiment = load_experiment(request.experiment, request.overrides)
    source = open_data(experiment.data, request.data_dir)
    print(f"Data: {source.name}. {source.note}".strip())
    used = [*split_parts(experiment.data.train_split, source), *split_parts(experiment.data.val_split, source)]
    # Those that are used may not be among those that have names, such as train[:90%] of TFDS.
    splits = [request.split] if request.split else source.splits if set(used) <= set(source.splits) else used
    return experiment, source, tuple(dict.fromkeys(part for split in splits for part in split_parts(split, source)))


def split_parts(split: str, source: DataSource) -> tuple[str, ...]:
    """The splits that a split is made of."""
    return ("train", "val") if split == "trainval" and "train" in source.splits else (split,)


def trained_model(request: Request) -> tuple[Experiment, Predictor, ClassSet]:
    """The experiment as it was trained, with this command's overrides, its predictor and its classes."""
    if request.experiment:
        load_experiment(request.experiment)  # a wrong name is the better message
    if (request.folder / CONFIG_FILE).exists():
        experiment = read_config(request.folder)
        if request.experiment not in (experiment.name, None):
            raise ConfigError(f"{request.folder} holds a run of {experiment.name!r}, not of {request.experiment!r}")
    elif request.model:
        experiment = Experiment(name=Path(request.model).stem)
    else:
        raise UserError(
            f"{request.folder} holds no run; train it first: python main.py --mode=train {same_run(request)}"
        )
    experiment = override(experiment, request.overrides)
    predictor = Predictor(request.model or request.folder, experiment.evaluation, runtime=request.runtime)
    classes = read_classes(request.folder)
    if len(classes) != predictor.num_classes:
        if (request.folder / CLASSES_FILE).exists():
            raise ConfigError(
                f"{request.model or request.folder} has {predictor.num_classes} classes,"
                f" but {request.folder / CLASSES_FILE} names {len(classes)}"
            )
        classes = numbered_classes(predictor.num_classes)
    return experiment, predictor, classes


def split_samples(request: Request, experiment: Experiment, classes: ClassSet) -> tuple[DataSource, list[Sample], str]:
    """The samples of the split that the command names.

    Raises:
        ConfigError: the command itself says which classes the masks have, and they are not the model's.
    """
    split = request.split or experiment.data.val_split
    own = any(path.startswith(("data.classes=", "data.masks=", "data.format=")) for path in request.overrides)
    source = open_data(experiment.data, request.data_dir, None if own else classes)
    if source.classes.names != classes.names:
        raise ConfigError(f"{source.name} has other classes than {request.folder} was trained on (classes.json)")
    print(f"Data: {source.name}. {source.note}".strip())
    return source, source.list_samples(split), split


def images_named(
    request: Request, experiment: Experiment, classes: ClassSet, output: Path | None = None
) -> tuple[list[Sample], ClassSet]:
    """What --input names: a file, a folder, or an image of the split by its name; the whole split without --input.

    Args:
        output: folder for figures. What is in it is no input, unless it is the folder of the input.

    Raises:
        UserError: there are no such images, or a figure would overwrite one of them.
    """
    if request.input and (input := Path(request.input)).exists():
        is_inside = output and input.is_dir() and output.resolve() != input.resolve()
        planned = plan(input, output if is_inside else None)
        if output:
            what = request.what or "results"
            drawn = {(output / f"{name}.png").resolve() for name in (what, *(f"{stem}_{what}" for _, stem in planned))}
            if lost := drawn & {file.resolve() for file, _ in planned}:
                raise UserError(f"{min(lost)} would be overwritten by a figure: choose another --output than {output}")
        return [Sample(str(stem), str(file), None) for file, stem in planned], classes
    source, samples, split = split_samples(request, experiment, classes)
    if not request.input:
        return samples, source.classes
    names = [sample.name for sample in samples]
    if (wanted := unified(request.input)) not in names:
        near = difflib.get_close_matches(wanted, names) or names[:2]
        raise UserError(
            f"--input={request.input}: no such file or folder, and no image of that name in {split} of {source.name};"
            f" there are, for example, {', '.join(near)}"
        )
    return [samples[names.index(wanted)]], source.classes


def runs_to_show(request: Request, experiment: Experiment, predictor: Predictor, classes: ClassSet) -> list[Run]:
    """Those of --compare, then the command's own, under names that tell them apart. All label images in the same way.

    Raises:
        UserError: another number of classes, or other names.
    """
    paths = [*map(Path, request.compare), Path(request.model or request.folder)]
    names = [path.name if path.is_dir() else f"{path.parent.name}/{path.stem}" for path in paths]
    names = [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    predictors = []
    for path in paths[:-1]:
        other = Predictor(path, experiment.evaluation, runtime=request.runtime)
        folder = path if path.is_dir() else path.parent
        same = not (folder / CLASSES_FILE).exists() or read_classes(folder).names == classes.names
        if other.num_classes != predictor.num_classes or not same:
            raise UserError(f"--compare={path} was trained on other classes than {paths[-1]}")
        predictors.append(other)
    return [Run(name, each) for name, each in zip(names, [*predictors, predictor], strict=True)]


def training_command(request: Request, experiment: Experiment) -> list[str]:
    """The command that trains such a run; none for a model file, whose training is not known."""
    if not (request.folder / CONFIG_FILE).exists() or experiment.name not in experiment_names():
        return []
    settings = ["--mode=train", f"--experiment={experiment.name}"]
    settings += [f"--data_dir={request.data_dir}"] if request.data_dir else []
    for path, (_, value) in differences(load_experiment(experiment.name), experiment).items():
        section, _, name = path.partition(".")
        if section in ("model", "data", "train") and not (section == "model" and name in PRESCRIBED):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            settings.append(f"--set={path}={text}")
    return [shlex.join(["python", "main.py", *settings])]


def same_run(request: Request) -> str:
    """The flags that name the same run and data in a next command."""
    names = ("experiment", "run_dir", "model", "data_dir")
    flags = {name: getattr(request, name) for name in names}
    return shlex.join(f"--{name}={value}" for name, value in flags.items() if value)
