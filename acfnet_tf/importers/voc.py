"""Reads PASCAL VOC's segmentation data as VOC2012 unpacks, and other data in that layout.

ROOT/JPEGImages/*.jpg
ROOT/SegmentationClass/*.png
ROOT/ImageSets/Segmentation/{train,val,trainval}.txt

The further masks of SBD are the split "train_aug": SegmentationClassAug, and train_aug.txt or trainaug.txt.
"""

from __future__ import annotations

import functools
from pathlib import Path

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource, read_text
from acfnet_tf.errors import DataError
from acfnet_tf.importers.pairs import Pairs, list_pictures, pair_names
from acfnet_tf.importers.presets import VOC
from acfnet_tf.importers.splits import named_splits, open_splits
from acfnet_tf.paths import unified

IMAGES, MASKS, MORE_MASKS, LISTS = "JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"


def open_voc(config: DataConfig, data_dir: str, classes: ClassSet | None = None) -> DataSource:
    """Opens `data_dir`, or VOC2012 or VOCdevkit/VOC2012 in it. See `acfnet_tf.importers.open.open_data`.

    Every list in ImageSets/Segmentation is a split.

    Raises:
        DataError: the folder is not there or not the right one.
    """
    given = Path(data_dir)
    roots = (given, given / "VOC2012", given / "VOCdevkit/VOC2012")
    root = next((folder for folder in roots if (folder / LISTS).is_dir()), None)
    if not root:
        raise DataError(f"{given}: no folder {LISTS} in it. Give the folder VOC2012, which holds it and {IMAGES}.")
    images = list_pictures(root / IMAGES)
    pictures_of = functools.cache(lambda folder: list_pictures(root / folder))
    splits = {}
    for file in sorted((root / LISTS).glob("[!.]*.txt")):
        name = "train_aug" if file.stem == "trainaug" else file.stem
        masks = MORE_MASKS if name.endswith("aug") else MASKS
        splits[name] = _pair(file, images, root / masks, pictures_of(masks))
    if not splits:
        raise DataError(f"{root / LISTS}: no lists of images in it. Expected are train.txt and val.txt.")
    return open_splits(f"PASCAL VOC layout {root}", root, named_splits(splits, root / LISTS), config, classes, VOC)


def _pair(file: Path, images: dict[str, Path], mask_folder: Path, masks: dict[str, Path]) -> Pairs:
    """The images that a list names, with their masks."""
    names = _read_list(file)
    absent = [name for name in names if name not in images]
    if absent:
        others = f"nor are {len(absent) - 1} others of {len(names)}"
        return Pairs([], f"{file}: {absent[0]} is not in {IMAGES} ({others}).")
    if not names:
        return Pairs([], f"{file}: empty.")
    drawn = {name: masks[name] for name in names if name in masks}
    return pair_names({name: images[name] for name in names}, drawn, mask_folder, where=f" in {file.name}")


def _read_list(file: Path) -> list[str]:
    """Names, sorted. Lines are names, or the pairs of paths that SBD's lists have: /JPEGImages/x.jpg /MASKS/x.png."""
    lines = {line.strip().strip('"') for line in unified(read_text(file)).splitlines()} - {""}
    start = f"/{IMAGES}/"
    pairs = {line for line in lines if line.startswith(start)}
    return sorted(lines - pairs | {str(Path(pair.split()[0].removeprefix(start)).with_suffix("")) for pair in pairs})
