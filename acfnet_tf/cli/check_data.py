"""Says what is wrong with images and masks before anybody trains; proposes class weights; draws samples.

python main.py --mode=check_data --experiment=acf_aspp --data_dir=DIR --set data.format=folder

It reads every file once, on all cores, writes check.md and check.json, and draws what the network would see.
docs/data.md explains the findings.
"""

import dataclasses
from typing import Any


def define_flags(define: Any) -> None:
    define.experiment()
    define.run_dir()
    define.data("all")
    define.output("RUN_DIR/data_check")
    define.number("images", help="How many samples are drawn; 8 by default.", lower_bound=1)


def run(flags: Any) -> None:
    import numpy as np

    from acfnet_tf.checks import check
    from acfnet_tf.checks.report import write_check_report
    from acfnet_tf.cli._data import open_splits
    from acfnet_tf.cli._runs import next_command, output_folder
    from acfnet_tf.data.order import SampleOrder
    from acfnet_tf.errors import UserError
    from acfnet_tf.importers.splits import parts_of
    from acfnet_tf.losses import weights_from_counts
    from acfnet_tf.training_data.dataset import training_dataset
    from acfnet_tf.training_data.rare_classes import sample_order
    from acfnet_tf.visualization.data_sheet import write_augmented_sheet, write_contact_sheet

    experiment, source, splits = open_splits(flags)
    folder = output_folder(flags, "data_check", printed=True)
    result = check.check_data(source, splits)
    parts = parts_of(source, experiment.data.train_split)
    trained = [result.splits[split] for split in parts if split in result.splits]
    pixels = np.concatenate([counts.class_pixels for counts in trained]) if trained else None
    weights = {} if pixels is None else weights_from_counts(pixels)
    write_check_report(result, folder, weights, show=lambda text: print(f"\n{text}", flush=True))
    print(f"Report: {folder / 'check.md'} and check.json")
    if result.errors:
        raise UserError("these data cannot be trained on; what is wrong stands above")

    data, seed = experiment.data, experiment.train.seed
    samples = source.list_samples(data.train_split)
    count = flags.images or 8
    write_contact_sheet(samples, source.classes, folder / "samples.png", count)
    order = sample_order(experiment, len(samples), lambda: pixels) if trained else SampleOrder(len(samples), seed)
    augmented = training_dataset(
        samples,
        source.classes,
        dataclasses.replace(data, cache=None),
        seed=seed,
        batch_size=1,
        first_sample=0,
        last_sample=count,
        order=order,
        pixel_mean=experiment.model.pixel_mean,
    )
    write_augmented_sheet(augmented.as_numpy_iterator(), source.classes, folder / "augmented.png", count)
    print(f"Samples: {folder / 'samples.png'}; as the network sees them: {folder / 'augmented.png'}")
    print(f"Next: {next_command('train', flags, *(f'--set={setting}' for setting in flags.set))}")
