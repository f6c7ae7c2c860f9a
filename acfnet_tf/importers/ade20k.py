"""Reads ADE20K as its scene parsing challenge has it (ADEChallengeData2016).

ROOT/images/{training,validation}/*.jpg
ROOT/annotations/{training,validation}/*.png
"""

from __future__ import annotations

from pathlib import Path

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource
from acfnet_tf.errors import DataError
from acfnet_tf.importers.pairs import pair_folders
from acfnet_tf.importers.presets import ADE20K
from acfnet_tf.importers.splits import named_splits, open_splits
from acfnet_tf.paths import spelt, subfolders

FOLDER = "ADEChallengeData2016"


def open_ade20k(config: DataConfig, data_dir: str, classes: ClassSet | None = None) -> DataSource:
    """Opens `data_dir`, or the folder ADEChallengeData2016 in it. See `acfnet_tf.importers.open.open_data`.

    The splits are "train", "val", "trainval", and any other folder in images, such as "testing".

    Raises:
        DataError: the folder is not there or not the right one.
    """
    root = Path(data_dir)
    root = root / FOLDER if (root / FOLDER).is_dir() else root
    images, masks = root / "images", root / "annotations"
    for folder in (images / "training", masks / "training"):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Give the folder {FOLDER}, which holds images and annotations.")
    splits = {folder.name: pair_folders(folder, spelt(masks / folder.name)) for folder in subfolders(images)}
    return open_splits(f"ADE20K layout {root}", root, named_splits(splits, images), config, classes, ADE20K)
