"""What each mode of the command line does: glue between settings, data, model and files."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path

import numpy as np

from acfnet_tf.checks import check
from acfnet_tf.checks.report import write_check_report
from acfnet_tf.cluster import join_workers, read_tf_config, write_tf_config
from acfnet_tf.config import Experiment, Pixels
from acfnet_tf.data.listing import find_images
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.pipeline import training_dataset
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.export.export import export as export_model
from acfnet_tf.files import as_utf_8, check_writable
from acfnet_tf.importers.shards import write_shards
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.label_files import predict_files
from acfnet_tf.losses import weights_from_counts
from acfnet_tf.measure.complexity import complexity, complexity_table
from acfnet_tf.models.create import create_model
from acfnet_tf.models.loading import MODEL_FILE, load_model
from acfnet_tf.recipes import load_experiment
from acfnet_tf.reports.comparison import compare
from acfnet_tf.reports.report import describe_inference, write_report
from acfnet_tf.reports.submission import archive_of, write_submission
from acfnet_tf.request import (
    Request,
    images_named,
    open_splits,
    runs_to_show,
    same_run,
    split_parts,
    split_samples,
    trained_model,
    training_command,
)
from acfnet_tf.settings import checked, override
from acfnet_tf.train import train as train_experiment
from acfnet_tf.training.run_folder import BEST_MODEL_FILE, CONFIG_FILE
from acfnet_tf.training.validation import evaluate_shared
from acfnet_tf.visualization.data_sheet import write_augmented_sheet, write_contact_sheet
from acfnet_tf.visualization.explore.server import explore as serve_page
from acfnet_tf.visualization.html_report import write_html_report
from acfnet_tf.visualization.visualize import IMAGES
from acfnet_tf.visualization.visualize import visualize as draw_figures


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
    best = model_file.with_name(BEST_MODEL_FILE)
    print(
        f"Trained model: {model_file}"
        + (f" (at the best validation: {best.name})\n" if best.exists() else " (no validation measured anything)\n")
        + f"Metrics: {request.folder / 'metrics.csv'}, {request.folder / 'tensorboard'}"
    )
    print(f"Next: python main.py --mode=evaluate {same_run(request)}")


def evaluate(request: Request) -> None:
    """Measures the trained model on a split, on all workers, prints the report, and writes it.

    With --compare, another one on the same images too.
    """
    if len(request.compare) > 1:
        raise UserError("--mode=evaluate compares with one other run: give --compare once")
    if request.cluster:
        _name_cluster(request)
    several = len(read_tf_config()[0]) > 1
    workers = join_workers("multi_worker" if several else "one_device")
    experiment, predictor, classes = trained_model(request)
    folder = _output(request, ".", printed=True) if workers.is_chief else request.folder
    source, samples, split = split_samples(request, experiment, classes)
    print(f"{len(samples)} images of {split}: {describe_inference(experiment.evaluation)}")
    if any(sample.label is None for sample in samples):
        raise UserError(f"split {split} of {source.name} has no masks to evaluate against")
    runs = runs_to_show(request, experiment, predictor, classes)
    widths = experiment.evaluation.boundary_widths
    with workers.naming_lost_ones():
        found = [evaluate_shared(workers, run.predictor, samples, source.classes, widths) for run in runs]
    if not workers.is_chief:
        return
    report = write_report(
        folder,
        found[-1],
        model=f"{Path(request.model or MODEL_FILE).name}, run by {request.runtime}",
        initialization=experiment.model.initialization or "unknown",
        class_names=classes.names,
        inference=experiment.evaluation,
        samples=samples,
        split=split,
        data=source.name,
        comparison=compare(runs[0].name, *found, classes.names) if request.compare else None,
        name=request.folder.resolve().name,
        show=lambda text: print(f"\n{text}", flush=True),
    )
    print(f"Report: {folder / 'evaluation.md'} and evaluation.json")
    if request.report:
        file = write_html_report(
            folder / "report.html",
            report.content,
            evaluation=found[-1],
            runs=runs,
            samples=samples,
            classes=source.classes,
            config=experiment.to_json(),
            commands=[*training_command(request, experiment), shlex.join(["python", "main.py", *sys.argv[1:]])],
        )
        print(f"To look at, in any browser: {file}")
    print(f"Next: python main.py --mode=visualize {same_run(request)}")


def predict(request: Request) -> None:
    """Labels a user's images, or a split for the Cityscapes test server."""
    if bool(request.input) == request.submission:
        raise UserError("--mode=predict wants either --input=FILE_OR_FOLDER or --submission with --split")
    experiment, predictor, classes = trained_model(request)
    if request.submission:
        _, samples, split = split_samples(request, experiment, classes)
        output = _output(request, f"submission_{split}")
        write_submission(predictor, samples, output)
        print(f"Submission: {archive_of(output)} ({len(samples)} images of {split})")
        return
    output = _output(request, "predictions")
    files = predict_files(predictor, request.input, output, classes.colors, experiment.evaluation.max_pixels)
    print(f"{len(files)} images labelled: NAME.png, NAME_color.png and NAME_overlay.png in {output}")


def visualize(request: Request) -> None:
    """Draws figures of a user's images, or of a split."""
    what = request.what or "results"
    if what not in IMAGES:
        raise UserError(f"--mode=visualize --what={what}: expected one of {', '.join(IMAGES)}")
    experiment, predictor, classes = trained_model(request)
    folder = _output(request, "figures")
    samples, classes = images_named(request, experiment, classes, folder)
    files = draw_figures(
        what,
        runs_to_show(request, experiment, predictor, classes),
        samples,
        classes,
        folder,
        images=request.images,
        pixels=request.pixels,
        class_names=request.classes,
        max_pixels=experiment.evaluation.max_pixels,
    )
    print(f"Drawn, each as PNG and PDF: {', '.join(map(str, files))}")
    print(f"Next: python main.py --mode=explore {same_run(request)}")


def explore(request: Request) -> None:
    """Shows a page on which to look at images with one or two runs, until it is told to stop."""
    if len(request.compare) > 1:
        raise UserError("--mode=explore compares with one other run: give --compare once")
    experiment, predictor, classes = trained_model(request)
    samples: list[Sample] = []
    try:
        # Of a model file alone, nobody knows the data.
        if request.input or request.data_dir or (request.folder / CONFIG_FILE).exists():
            samples, classes = images_named(request, experiment, classes)
    except UserError as error:
        if request.input or request.data_dir or request.split:
            raise
        print(f"No samples to choose from: {error}")  # the page is of use without them
    # Bytes in the names of files that are not UTF-8 have no place in a page.
    samples = [sample._replace(name=as_utf_8(sample.name)) for sample in samples]
    serve_page(runs_to_show(request, experiment, predictor, classes), classes, samples, experiment.explore)


def check_data(request: Request) -> None:
    """Reads all data, says what is wrong with them, and draws what the network would see."""
    experiment, source, splits = open_splits(request)
    folder = _output(request, "data_check", printed=True)
    result = check.check_data(source, splits)
    trained = [
        result.splits[split] for split in split_parts(experiment.data.train_split, source) if split in result.splits
    ]
    pixels = np.concatenate([counts.class_pixels for counts in trained]) if trained else None
    weights = {} if pixels is None else weights_from_counts(pixels)
    write_check_report(result, folder, weights, show=lambda text: print(f"\n{text}", flush=True))
    print(f"Report: {folder / 'check.md'} and check.json")
    if result.errors:
        raise UserError("these data cannot be trained on; what is wrong stands above")

    data, seed = experiment.data, experiment.train.seed
    samples = source.list_samples(data.train_split)
    count = request.images or 8
    write_contact_sheet(samples, source.classes, folder / "samples.png", count)
    augmented = training_dataset(
        samples,
        source.classes,
        dataclasses.replace(data, cache=None),
        seed=seed,
        batch_size=1,
        first_sample=0,
        last_sample=count,
        order=SampleOrder(len(samples), seed, pixels, data.rare_class_temperature if trained else None),
        pixel_mean=experiment.model.pixel_mean,
    )
    write_augmented_sheet(augmented.as_numpy_iterator(), source.classes, folder / "augmented.png", count)
    print(f"Samples: {folder / 'samples.png'}; as the network sees them: {folder / 'augmented.png'}")
    settings = shlex.join(f"--set={setting}" for setting in request.overrides)
    print(f"Next: python main.py --mode=train {same_run(request)} {settings}".rstrip())


def prepare_data(request: Request) -> None:
    """Writes the data as shards, for clusters and object stores."""
    if not request.output:
        raise UserError("--mode=prepare_data wants --output=DIR, the folder for the shards")
    _, source, splits = open_splits(request)
    print(f"Shards: {write_shards(source, splits, request.output)}")
    shards = shlex.join([f"--experiment={request.experiment}", f"--data_dir={request.output}"])
    print(f"Next: python main.py --mode=train {shards} --set data.format=tfrecord")


def export(request: Request) -> None:
    """Writes the trained model in a form for production, and compares it with the Keras model on real images."""
    experiment, predictor, classes = trained_model(dataclasses.replace(request, runtime="tensorflow"))
    if request.input:
        samples = calibration = [Sample(file.stem, str(file), None) for file in find_images(Path(request.input))]
    else:
        source, samples, _ = split_samples(request, experiment, classes)
        classes = source.classes  # the same ones, and what these masks mean
        calibration = source.list_samples(experiment.data.train_split) if request.quantize else ()
    if request.format == "keras":
        predictor = Predictor(load_model(request.model or request.folder))  # as it was trained, nothing folded
    result = export_model(
        predictor,
        request.format,
        _output(request, "export"),
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
        command = "" if request.model else f" python main.py --mode=export {same_run(request)}"
        raise UserError(f"no model to serve at {folder}; {hint}{command}")
    serve_model(folder, override(Experiment(name=folder.name), request.overrides).serve)


def benchmark(request: Request) -> None:
    """Counts what the network of an experiment costs; its weights do not matter."""
    if request.what not in ("complexity", None):
        raise UserError(f"--mode=benchmark --what={request.what}: expected complexity")
    try:
        size = checked(request.size.split("x"), tuple[Pixels, Pixels])
    except ValueError as error:
        raise UserError(f"--size={request.size}: expected HEIGHTxWIDTH from 1x1 to 65536x65536: 769x769") from error
    experiment = load_experiment(request.experiment, request.overrides)
    print(complexity_table(complexity(create_model(experiment.model), size), size))


def _output(request: Request, default: str, *, printed: bool = False) -> Path:
    """The folder for results, --output or `default` in the run folder, which can be written.

    Args:
        printed: what matters is printed too. The run folder may then be one that only others can write into.
    """
    folder = Path(request.output or request.folder / default)
    return folder if printed and not request.output else check_writable(folder)


def _name_cluster(request: Request) -> None:
    if request.worker is None:
        raise ConfigError("--cluster wants --worker=INDEX too: which of its addresses this process is, from 0")
    write_tf_config(request.cluster, request.worker)
