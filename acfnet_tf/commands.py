"""What each mode of the command line does: glue between settings, data, model and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acfnet_tf.config import ConfigError, Experiment, UserError, load_experiment, override
from acfnet_tf.data.cityscapes import Sample, list_samples
from acfnet_tf.data.cityscapes_labels import CLASS_NAMES
from acfnet_tf.data.source import DataSource, open_data
from acfnet_tf.evaluation.report import describe_inference, write_report
from acfnet_tf.evaluation.submission import write_submission
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.training.run_folder import BEST_MODEL_FILE, CONFIG_FILE, read_config
from acfnet_tf.training.strategy import join_workers, read_tf_config, write_tf_config
from acfnet_tf.training.train import train as train_experiment
from acfnet_tf.training.validation import evaluate_shared
from acfnet_tf.visualization.palette import class_colors
from acfnet_tf.visualization.panels import write_panels
from acfnet_tf.visualization.predict import predict_files


@dataclass(frozen=True)
class Request:
    """The command line; see `main.py --help`."""

    experiment: str
    overrides: Sequence[str] = ()
    data_dir: str | None = None
    run_dir: str | None = None
    split: str | None = None
    input: str | None = None
    output: str | None = None
    submission: bool = False
    images: int = 8
    init_from: str | None = None
    cluster: Sequence[str] = ()
    worker: int | None = None

    @property
    def folder(self) -> Path:
        return Path(self.run_dir or Path("runs") / self.experiment)


def train(request: Request) -> None:
    """Trains or continues an experiment."""
    overrides = [*request.overrides]
    if request.cluster:
        _name_cluster(request)
        overrides.append("train.strategy=multi_worker")
    if request.init_from:
        overrides.append(f"train.init_from={request.init_from}")
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
    experiment, predictor = _trained(request)
    source, samples, split = _samples(request, experiment)
    print(f"{len(samples)} images of {split}: {describe_inference(experiment.evaluation)}")
    if any(sample.label is None for sample in samples):
        raise UserError(f"split {split} of {source.root} has no masks to evaluate against")
    with workers.noticing_losses():
        matrices = evaluate_shared(workers, predictor, samples, experiment.model.num_classes)
    if not workers.is_chief:
        return
    report = write_report(
        request.folder,
        matrices,
        class_names=_class_names(experiment),
        evaluation=experiment.evaluation,
        samples=samples,
        split=split,
        data=f"{'generated street scenes' if source.generated else 'Cityscapes layout'} {source.root}",
    )
    print(f"\n{report}\nReport: {request.folder / 'evaluation.md'} and evaluation.json")
    print(f"Next: python main.py --mode=visualize {_same_run(request)}")


def predict(request: Request) -> None:
    """Labels a user's images, or a split for the Cityscapes test server."""
    if bool(request.input) == request.submission:
        raise UserError("--mode=predict wants either --input=FILE_OR_FOLDER or --submission with --split")
    experiment, predictor = _trained(request)
    if request.submission:
        _, samples, split = _samples(request, experiment)
        output = Path(request.output or request.folder / f"submission_{split}")
        write_submission(predictor, samples, output)
        print(f"Submission: {output.with_name(output.name + '.zip')} ({len(samples)} images of {split})")
        return
    output = Path(request.output or request.folder / "predictions")
    files = predict_files(predictor, request.input, output, class_colors(experiment.model.num_classes))
    print(f"{len(files)} images labelled: NAME.png, NAME_color.png and NAME_overlay.png in {output}")


def visualize(request: Request) -> None:
    """Draws panels of the first images of a split."""
    experiment, predictor = _trained(request)
    _, samples, _ = _samples(request, experiment)
    sheet = write_panels(
        predictor, samples[: request.images], request.folder / "figures", _class_names(experiment), sheet_rows=8
    )
    print(f"Panels (image | truth | coarse | fine): {sheet}")
    print(f"Next: python main.py --mode=predict {_same_run(request)} --input=FILE_OR_FOLDER")


def _name_cluster(request: Request) -> None:
    if request.worker is None:
        raise ConfigError("--cluster wants --worker=INDEX too: which of its addresses this process is, from 0")
    write_tf_config(request.cluster, request.worker)


def _trained(request: Request) -> tuple[Experiment, Predictor]:
    """The experiment as it was trained, with this command's overrides, and its predictor."""
    load_experiment(request.experiment)  # a wrong name is the better message
    if not (request.folder / CONFIG_FILE).exists():
        raise UserError(
            f"{request.folder} holds no run; train it first: python main.py --mode=train {_same_run(request)}"
        )
    experiment = read_config(request.folder)
    if experiment.name != request.experiment:
        raise ConfigError(f"{request.folder} holds a run of {experiment.name!r}, not of {request.experiment!r}")
    experiment = override(experiment, request.overrides)
    return experiment, Predictor(request.folder, experiment.evaluation)


def _samples(request: Request, experiment: Experiment) -> tuple[DataSource, list[Sample], str]:
    """The samples of the split that the command names."""
    split = request.split or experiment.data.val_split
    source = open_data(experiment.data, request.data_dir)
    print(source.description)
    return source, list_samples(source.root, split), split


def _class_names(experiment: Experiment) -> Sequence[str]:
    classes = experiment.model.num_classes
    return CLASS_NAMES if classes == len(CLASS_NAMES) else [f"class {index}" for index in range(classes)]


def _same_run(request: Request) -> str:
    """The flags that name the same run and data in a next command."""
    flags = {"experiment": request.experiment, "run_dir": request.run_dir, "data_dir": request.data_dir}
    return " ".join(f"--{name}={value}" for name, value in flags.items() if value)
