"""What each mode of the command line does: glue between settings, data, model and files."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acfnet_tf.config import ConfigError, Experiment, UserError, load_experiment, override
from acfnet_tf.data.checks import check
from acfnet_tf.data.checks.report import write_check_report
from acfnet_tf.data.classes import ClassSet, numbered_classes
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.pipeline import training_dataset
from acfnet_tf.data.readers.shards import write_shards
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.data.source import open_data
from acfnet_tf.evaluation.report import describe_inference, write_report
from acfnet_tf.evaluation.submission import write_submission
from acfnet_tf.export.export import export as export_model
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.complexity import complexity, complexity_table
from acfnet_tf.models.create import create_model
from acfnet_tf.models.loading import MODEL_FILE, load_model
from acfnet_tf.training.class_statistics import weights_from_counts
from acfnet_tf.training.run_folder import BEST_MODEL_FILE, CLASSES_FILE, CONFIG_FILE, read_classes, read_config
from acfnet_tf.training.strategy import join_workers, read_tf_config, write_tf_config
from acfnet_tf.training.train import train as train_experiment
from acfnet_tf.training.validation import evaluate_shared
from acfnet_tf.visualization.data_sheet import write_augmented_sheet, write_contact_sheet
from acfnet_tf.visualization.panels import write_panels
from acfnet_tf.visualization.predict import find_images, predict_files


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
    images: int = 8
    init_from: str | None = None
    cluster: Sequence[str] = ()
    worker: int | None = None
    runtime: str = "tensorflow"
    format: str = "saved_model"
    quantize: str | None = None
    size: str = "769x769"

    @property
    def folder(self) -> Path:
        """The run folder; that of --model if only that is named."""
        if self.run_dir or self.experiment:
            return Path(self.run_dir or Path("runs") / self.experiment)
        return Path(self.model).parent


def train(request: Request) -> None:
    """Trains or continues an experiment."""
    overrides = [*request.overrides]
    if request.cluster:
        _name_cluster(request)
        overrides.append("train.strategy=multi_worker")
    if request.init_from:
        overrides.append(f"model.weights={request.init_from}")
    experiment = load_experiment(request.experiment, overrides)
    model_file = train_experiment(experiment, request.folder, request.data_dir)
    if not model_file.exists():  # not the chief's process
        return
    print(
        f"Trained model: {model_file} (at the best validation: {model_file.with_name(BEST_MODEL_FILE).name})\n"
        f"Metrics: {request.folder / 'metrics.csv'}, {request.folder / 'tensorboard'}"
    )
    print(f"Next: python main.py --mode=evaluate {_same_run(request)}")


def evaluate(request: Request) -> None:
    """Measures the trained model on a split, on all workers, and writes the report into the run folder."""
    if request.cluster:
        _name_cluster(request)
    several = len(read_tf_config()[0]) > 1
    workers = join_workers("multi_worker" if several else "one_device")
    experiment, predictor, classes = _trained(request)
    source, samples, split = _samples(request, experiment, classes)
    print(f"{len(samples)} images of {split}: {describe_inference(experiment.evaluation)}")
    if any(sample.label is None for sample in samples):
        raise UserError(f"split {split} of {source.name} has no masks to evaluate against")
    with workers.noticing_losses():
        matrices = evaluate_shared(workers, predictor, samples, source.classes)
    if not workers.is_chief:
        return
    report = write_report(
        request.folder,
        matrices,
        model=f"{Path(request.model or MODEL_FILE).name}, run by {request.runtime}",
        initialization=experiment.model.initialization or "unknown",
        class_names=classes.names,
        evaluation=experiment.evaluation,
        samples=samples,
        split=split,
        data=source.name,
    )
    print(f"\n{report}\nReport: {request.folder / 'evaluation.md'} and evaluation.json")
    print(f"Next: python main.py --mode=visualize {_same_run(request)}")


def predict(request: Request) -> None:
    """Labels a user's images, or a split for the Cityscapes test server."""
    if bool(request.input) == request.submission:
        raise UserError("--mode=predict wants either --input=FILE_OR_FOLDER or --submission with --split")
    experiment, predictor, classes = _trained(request)
    if request.submission:
        _, samples, split = _samples(request, experiment, classes)
        output = Path(request.output or request.folder / f"submission_{split}")
        write_submission(predictor, samples, output)
        print(f"Submission: {output.with_name(output.name + '.zip')} ({len(samples)} images of {split})")
        return
    output = Path(request.output or request.folder / "predictions")
    files = predict_files(predictor, request.input, output, classes.colors, experiment.evaluation.max_pixels)
    print(f"{len(files)} images labelled: NAME.png, NAME_color.png and NAME_overlay.png in {output}")


def visualize(request: Request) -> None:
    """Draws panels of the first images of a split."""
    experiment, predictor, classes = _trained(request)
    source, samples, _ = _samples(request, experiment, classes)
    sheet = write_panels(predictor, samples[: request.images], request.folder / "figures", source.classes, sheet_rows=8)
    print(f"Panels (image | truth | coarse | fine): {sheet}")
    print(f"Next: python main.py --mode=predict {_same_run(request)} --input=FILE_OR_FOLDER")


def check_data(request: Request) -> None:
    """Reads all data, says what is wrong with them, and draws what the network would see."""
    experiment, source, splits = _data(request)
    folder = Path(request.output or request.folder / "data_check")
    result = check.check_data(source, splits)
    trained = [result.splits[split] for split in _parts(experiment.data.train_split, source) if split in result.splits]
    pixels = np.concatenate([counts.class_pixels for counts in trained]) if trained else None
    weights = {} if pixels is None else weights_from_counts(pixels)
    print(f"\n{write_check_report(result, folder, weights)}\nReport: {folder / 'check.md'} and check.json")
    if result.errors:
        raise UserError("these data cannot be trained on; what is wrong stands above")

    data, seed = experiment.data, experiment.train.seed
    samples = source.list_samples(data.train_split)
    write_contact_sheet(samples, source.classes, folder / "samples.png", request.images)
    augmented = training_dataset(
        samples,
        source.classes,
        dataclasses.replace(data, cache=None),
        seed=seed,
        batch_size=1,
        first_sample=0,
        last_sample=request.images,
        order=SampleOrder(len(samples), seed, pixels, data.rare_class_temperature if trained else None),
    )
    write_augmented_sheet(augmented.as_numpy_iterator(), source.classes, folder / "augmented.png", request.images)
    print(f"Samples: {folder / 'samples.png'}; as the network sees them: {folder / 'augmented.png'}")
    settings = shlex.join(f"--set={setting}" for setting in request.overrides)
    print(f"Next: python main.py --mode=train {_same_run(request)} {settings}".rstrip())


def prepare_data(request: Request) -> None:
    """Writes the data as shards, for clusters and object stores."""
    if not request.output:
        raise UserError("--mode=prepare_data wants --output=DIR, the folder for the shards")
    _, source, splits = _data(request)
    print(f"Shards: {write_shards(source, splits, request.output)}")
    shards = shlex.join([f"--experiment={request.experiment}", f"--data_dir={request.output}"])
    print(f"Next: python main.py --mode=train {shards} --set data.format=tfrecord")


def export(request: Request) -> None:
    """Writes the trained model in a form for production, and compares it with the Keras model on real images."""
    experiment, predictor, classes = _trained(dataclasses.replace(request, runtime="tensorflow"))
    if request.input:
        samples = calibration = [Sample(file.stem, str(file), None) for file in find_images(Path(request.input))]
    else:
        source, samples, _ = _samples(request, experiment, classes)
        classes = source.classes  # the same ones, and what these masks mean
        calibration = source.list_samples(experiment.data.train_split) if request.quantize else ()
    if request.format == "keras":
        predictor = Predictor(load_model(request.model or request.folder))  # as it was trained, nothing folded
    result = export_model(
        predictor,
        request.format,
        Path(request.output or request.folder / "export"),
        experiment.name,
        classes,
        experiment.export,
        samples,
        quantize=request.quantize,
        calibration=calibration,
    )
    print(f"\n{result.table()}\nExported: {result.path}")
    if request.format == "saved_model":
        print(f"Next: python main.py --mode=serve --model={shlex.quote(str(result.path.parent))}")


def serve(request: Request) -> None:
    """Serves an exported SavedModel until it is told to stop."""
    from acfnet_tf.serving.server import serve as serve_model  # needs an extra

    folder = Path(request.model or request.folder / "export" / str(request.experiment))
    if not folder.is_dir():
        hint = "name the folder of an exported SavedModel by --model" if request.model else "export the run first:"
        command = "" if request.model else f" python main.py --mode=export {_same_run(request)}"
        raise UserError(f"no model to serve at {folder}; {hint}{command}")
    serve_model(folder, override(Experiment(name=folder.name), request.overrides).serve)


def benchmark(request: Request) -> None:
    """Counts what the network of an experiment costs; its weights do not matter."""
    match = re.fullmatch(r"(\d+)x(\d+)", request.size)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(size) < 1:
        raise UserError(f"--size={request.size}: expected HEIGHTxWIDTH, such as 769x769")
    experiment = load_experiment(request.experiment, request.overrides)
    print(complexity_table(complexity(create_model(experiment.model), size), size))


def _data(request: Request) -> tuple[Experiment, DataSource, Sequence[str]]:
    """The experiment, its data, and the splits that the command is about: --split, or all that there are."""
    experiment = load_experiment(request.experiment, request.overrides)
    source = open_data(experiment.data, request.data_dir)
    print(f"Data: {source.name}. {source.note}".strip())
    used = [*_parts(experiment.data.train_split, source), *_parts(experiment.data.val_split, source)]
    # Those that are used may not be among those that have names, such as train[:90%] of TFDS.
    splits = [request.split] if request.split else source.splits if set(used) <= set(source.splits) else used
    return experiment, source, tuple(dict.fromkeys(part for split in splits for part in _parts(split, source)))


def _parts(split: str, source: DataSource) -> tuple[str, ...]:
    """The splits that a split is made of."""
    return ("train", "val") if split == "trainval" and "train" in source.splits else (split,)


def _name_cluster(request: Request) -> None:
    if request.worker is None:
        raise ConfigError("--cluster wants --worker=INDEX too: which of its addresses this process is, from 0")
    write_tf_config(request.cluster, request.worker)


def _trained(request: Request) -> tuple[Experiment, Predictor, ClassSet]:
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
            f"{request.folder} holds no run; train it first: python main.py --mode=train {_same_run(request)}"
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


def _samples(request: Request, experiment: Experiment, classes: ClassSet) -> tuple[DataSource, list[Sample], str]:
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


def _same_run(request: Request) -> str:
    """The flags that name the same run and data in a next command."""
    names = ("experiment", "run_dir", "model", "data_dir")
    flags = {name: getattr(request, name) for name in names}
    return shlex.join(f"--{name}={value}" for name, value in flags.items() if value)
