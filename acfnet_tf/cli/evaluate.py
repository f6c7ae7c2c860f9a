"""Measures mIoU and the IoU of every class over a split, also near boundaries.

python main.py --mode=evaluate --experiment=acf_aspp_small --set evaluation.flip=true
python main.py --mode=evaluate --experiment=acf_aspp_small --report --compare=runs/aspp_small

It prints the report and writes evaluation.md and evaluation.json. --report writes an HTML page with everything;
--compare measures another run on the same images, and whether the difference is more than chance.
"""

from pathlib import Path
from typing import Any

ENVIRONMENT = {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}


def define_flags(define: Any) -> None:
    define.trained_run()
    define.data()
    define.output("RUN_DIR")
    define.compare("measured on the same images", once=True)
    define.switch("report", help="Write report.html too.")
    define.runtime()
    define.cluster()


def run(flags: Any) -> None:
    from acfnet_tf.cli._data import split_samples
    from acfnet_tf.cli._runs import commands_of, next_command, output_folder, run_folder, runs_to_show, trained_model
    from acfnet_tf.cluster import join_workers, naming_lost_workers, read_tf_config, write_tf_config
    from acfnet_tf.errors import UserError
    from acfnet_tf.models.loading import MODEL_FILE
    from acfnet_tf.processors import precision_in_words
    from acfnet_tf.reports.boundary import near_boundaries
    from acfnet_tf.reports.comparison import compare
    from acfnet_tf.reports.report import describe_inference, write_report
    from acfnet_tf.training.validation import evaluate_shared
    from acfnet_tf.visualization.html_report import write_html_report

    if flags.cluster:
        write_tf_config(flags.cluster, flags.worker)
    several = len(read_tf_config()[0]) > 1
    workers = join_workers("multi_worker" if several else "one_device")
    experiment, predictor, classes = trained_model(flags, flags.runtime)
    folder = output_folder(flags, ".", printed=True) if workers.is_chief else run_folder(flags)
    source, samples, split = split_samples(flags, experiment, classes)
    precision = precision_in_words(experiment.evaluation.precision, flags.runtime)
    print(f"{len(samples)} images of {split}: {describe_inference(experiment.evaluation)}, {precision}")
    if any(sample.label is None for sample in samples):
        raise UserError(f"split {split} of {source.name} has no masks to evaluate against")
    runs = runs_to_show(flags, experiment, predictor, classes)
    make_counts = near_boundaries(experiment.evaluation.boundary_widths)
    with naming_lost_workers(workers):
        found = [evaluate_shared(workers, run.predictor, samples, source.classes, make_counts) for run in runs]
    if not workers.is_chief:
        return
    report = write_report(
        folder,
        found[-1],
        model=f"{Path(flags.model or MODEL_FILE).name}, run by {flags.runtime}",
        initialization=experiment.model.initialization or "unknown",
        class_names=classes.names,
        inference=experiment.evaluation,
        precision=precision,
        samples=samples,
        split=split,
        data=source.name,
        comparison=compare(runs[0].name, *found, classes.names) if flags.compare else None,
        name=run_folder(flags).resolve().name,
        show=lambda text: print(f"\n{text}", flush=True),
    )
    print(f"Report: {folder / 'evaluation.md'} and evaluation.json")
    if flags.report:
        file = write_html_report(
            folder / "report.html",
            report.content,
            evaluation=found[-1],
            runs=runs,
            samples=samples,
            classes=source.classes,
            config=experiment.to_json(),
            commands=commands_of(flags, experiment),
        )
        print(f"To look at, in any browser: {file}")
    print(f"Next: {next_command('visualize', flags)}")
