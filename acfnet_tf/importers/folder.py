"""Reads a user's own folder of images and masks, or table of pairs.

One of these layouts, recognised by itself ("images" and "masks" are `data.image_folder` and `data.mask_folder`):

DIR/images, DIR/masks                 split by `data.val_fraction`
DIR/train/images, DIR/train/masks     the same for val and for any other split
DIR/images/train, DIR/masks/train     the same
DIR/pairs.csv, or FILE.csv            columns image, mask and perhaps split

A mask has the name of its image, and lies in the same subfolder.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource
from acfnet_tf.errors import DataError
from acfnet_tf.importers.pairs import Pairs, pair_folders, read_table
from acfnet_tf.importers.splits import SPLIT_NAMES, named_splits, open_splits, split_by_name
from acfnet_tf.paths import is_picture, spelt, subfolders

TABLE = "pairs.csv"

OTHER_LAYOUTS = {
    "leftImg8bit": "cityscapes",
    "JPEGImages": "voc",
    "VOC2012": "voc",
    "VOCdevkit": "voc",
    "annotations/training": "ade20k",
    "ADEChallengeData2016": "ade20k",
    "manifest.json": "tfrecord",
}
"""What lies in the folders of other formats → `data.format`."""


def open_folder(config: DataConfig, data_dir: str, classes: ClassSet | None = None) -> DataSource:
    """Opens a folder or a CSV file of pairs. See `acfnet_tf.importers.open.open_data`.

    Raises:
        DataError: it is in none of the layouts, a file of it is wrong, or its classes cannot be found out.
    """
    root = Path(data_dir)
    table = root if root.suffix.lower() == ".csv" else root / TABLE
    if table.is_file():
        name, where, folder, listed = f"table {table}", table, table.parent, read_table(table)
    else:
        name, where, folder, listed = f"folder {root}", root, root, _read_folders(root, config)
    if "" not in listed:
        return open_splits(name, folder, named_splits(listed, where), config, classes)
    splits = split_by_name(listed[""], config.val_fraction, where)
    source = open_splits(name, folder, splits, config, classes)
    # Of few images, the part that goes to val by name may be far from the fraction.
    dealt = f"Split by name: {len(splits['train'].samples)} to train, {len(splits['val'].samples)} to val."
    return dataclasses.replace(source, note=f"{dealt} {source.note}".strip())


def _read_folders(root: Path, config: DataConfig) -> dict[str, Pairs]:
    """The pairs of each split; of all under "" where there are no splits."""
    folders = _folders_of_splits(root, config)
    if not folders:
        raise DataError(f"{root}: {_explain(root, config)}")
    images = spelt(root / config.image_folder)
    if any(folder.parent == images for folder, _ in folders.values()):
        for loose in filter(is_picture, sorted(images.iterdir())):
            raise DataError(f"{loose}: lies beside the folders of the splits. Move it into one of them.")
    return {split: pair_folders(*pair, config.mask_suffix) for split, pair in folders.items()}


def _folders_of_splits(root: Path, config: DataConfig) -> dict[str, tuple[Path, Path]]:
    """Split → folders of its images and masks; "" → those of all; {} where `root` has none of the layouts."""
    images, masks = spelt(root / config.image_folder), spelt(root / config.mask_folder)
    if images.is_dir() and masks.is_dir():
        inside = subfolders(images)
        if any(folder.name.lower() in SPLIT_NAMES for folder in inside):
            return {folder.name: (folder, spelt(masks / folder.name)) for folder in inside}
        return {"": (images, masks)}
    pairs = {
        folder.name: (spelt(folder / config.image_folder), spelt(folder / config.mask_folder))
        for folder in subfolders(root)
    }
    splits = {name: pair for name, pair in pairs.items() if pair[0].is_dir()}
    return splits if any(name.lower() in SPLIT_NAMES for name in splits) else {}


def _explain(root: Path, config: DataConfig) -> str:
    """What is wrong with a folder that has none of the layouts."""
    if not root.is_dir():
        return "no such file." if root.suffix.lower() == ".csv" else "no such folder."
    for marker, data_format in OTHER_LAYOUTS.items():
        if (root / marker).exists():
            return f"there is {marker} in it. If this is a data set of that layout, set data.format={data_format}."
    for folder in root.resolve().parents[:3]:
        if _folders_of_splits(folder, config):
            return f"lies inside a data set. Give {folder}."
    inside = subfolders(root)
    for folder in inside:
        if _folders_of_splits(folder, config) or (folder / TABLE).is_file():
            return f"one level too high. Give {folder}."
    image, mask = config.image_folder, config.mask_folder
    return (
        f"neither {image} and {mask} in it, nor train/{image} and train/{mask}, nor {TABLE}. There are the folders:"
        f" {', '.join(folder.name for folder in inside) or 'none'} (data.image_folder, data.mask_folder)."
    )
