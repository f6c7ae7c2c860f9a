"""Where the data come from: a folder, a CSV file, shards, a TensorFlow data set, or else generated street scenes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource
from acfnet_tf.errors import DataError
from acfnet_tf.files import write_errors
from acfnet_tf.importers.ade20k import open_ade20k
from acfnet_tf.importers.cityscapes import open_cityscapes
from acfnet_tf.importers.class_search import find_classes
from acfnet_tf.importers.folder import open_folder
from acfnet_tf.importers.shards import open_shards
from acfnet_tf.importers.voc import open_voc

ENVIRONMENT_VARIABLE = "CITYSCAPES_DATASET"


def open_data(config: DataConfig, data_dir: str | None, classes: ClassSet | None = None) -> DataSource:
    """The data that `config.format` and `data_dir` name.

    In the format "cityscapes", no `data_dir` means the folder of `CITYSCAPES_DATASET`, and without that one street
    scenes that are generated under ./data on first use.

    Args:
        classes: those of a trained model, instead of what the data say.

    Raises:
        DataError: there are no such data, or their classes cannot be found out.
    """
    data_dir = data_dir and os.path.expanduser(data_dir)
    if config.format == "cityscapes":
        return _open_cityscapes(config, data_dir, classes)
    if config.format == "tfds":
        from acfnet_tf.importers.tfds_source import open_tfds

        return open_tfds(config, data_dir, classes)
    if not data_dir:
        raise DataError(f"data.format={config.format} wants --data_dir=DIR.")
    readers = {"folder": open_folder, "ade20k": open_ade20k, "voc": open_voc, "tfrecord": open_shards}
    return readers[config.format](config, data_dir, classes)


def _open_cityscapes(config: DataConfig, data_dir: str | None, classes: ClassSet | None) -> DataSource:
    changes = {}
    if not data_dir and (named := os.environ.get(ENVIRONMENT_VARIABLE)):
        data_dir = os.path.expanduser(named)
        changes = {"note": f"The folder is from {ENVIRONMENT_VARIABLE}."}
    if not data_dir:
        data_dir = _street_scenes(config)
        note = f"For Cityscapes give --data_dir=DIR or set {ENVIRONMENT_VARIABLE}=DIR; for your own, see docs/data.md."
        changes = {"name": f"generated street scenes {data_dir}", "note": note}
    if config.classes and not classes:
        classes, _ = find_classes(config, Path(data_dir))
    return dataclasses.replace(open_cityscapes(config, data_dir, classes), **changes)


def _street_scenes(config: DataConfig) -> str:
    """The folder of the scenes that the configuration asks for, drawn where it is not there yet."""
    # The generator's libraries are of no use to those who have Cityscapes.
    from acfnet_tf.scenes.street_scenes import write_street_scenes

    (height, width), train, val, test = config.scene_size, config.scene_train, config.scene_val, config.scene_test
    root = Path("data") / f"street_scenes_{height}x{width}_{train}+{val}+{test}_seed{config.scene_seed}"
    with write_errors(root):
        write_street_scenes(root, train=train, val=val, test=test, size=config.scene_size, seed=config.scene_seed)
    return str(root)
