"""Writes the data as TFRecord shards, for clusters and object stores.

python main.py --mode=prepare_data --experiment=acf_aspp --data_dir=DIR --output=SHARDS

Trainings read them with --data_dir=SHARDS --set data.format=tfrecord; docs/data.md explains them.
"""

from typing import Any


def define_flags(define: Any) -> None:
    define.experiment()
    define.data("all")
    define.path("output", help="Folder for the shards.")


def run(flags: Any) -> None:
    from acfnet_tf.cli._data import open_splits
    from acfnet_tf.cli._runs import command
    from acfnet_tf.errors import UserError
    from acfnet_tf.importers.shards import write_shards

    if not flags.output:
        raise UserError("--mode=prepare_data wants --output=DIR, the folder for the shards")
    _, source, splits = open_splits(flags)
    print(f"Shards: {write_shards(source, splits, flags.output)}")
    shards = (f"--experiment={flags.experiment}", f"--data_dir={flags.output}", "--set=data.format=tfrecord")
    print(f"Next: {command('--mode=train', *shards)}")
