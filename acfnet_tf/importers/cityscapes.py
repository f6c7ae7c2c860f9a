"""The folder tree of Cityscapes, as the official archives unpack and as the street scenes are written.

ROOT/leftImg8bit/{train,val,test}/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png
ROOT/gtFine/{train,val,test}/CITY/CITY_SSSSSS_FFFFFF_gtFine_labelIds.png

The coarsely labelled images are the split "train_extra" of leftImg8bit and of gtCoarse.
"""

from __future__ import annotations

import functools
from pathlib import Path

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers.splits import PARTS
from acfnet_tf.paths import list_images, subfolders, unified

IMAGES, FINE, COARSE = "leftImg8bit", "gtFine", "gtCoarse"
IMAGE_SUFFIX = f"_{IMAGES}.png"
SPLITS = ("train", "val", "trainval", "test", "train_extra")


def open_cityscapes(config: DataConfig, data_dir: str | None, classes: ClassSet | None = None) -> DataSource:
    """Opens a tree in the Cityscapes layout.

    Args:
        config: of the data; nothing in it matters here.
        data_dir: the folder that holds `leftImg8bit` and `gtFine`.
        classes: of its masks, where these are not Cityscapes' labelIds.

    Raises:
        DataError: there is no `data_dir`. What is wrong with the folder is said when its samples are listed.
    """
    del config
    if not data_dir:
        raise DataError("the Cityscapes layout wants --data_dir=DIR.")
    root = Path(data_dir)
    optional = [split for split in ("test", "train_extra") if any((root / IMAGES / split).glob("*/*"))]
    return DataSource(
        f"Cityscapes layout {root}",
        classes or CITYSCAPES,
        functools.partial(list_samples, root),
        splits=("train", "val", *optional),
        cache_dir=root,
    )


def list_samples(root: str | Path, split: str) -> list[Sample]:
    """Every sample of a split, sorted by path.

    Args:
        root: the folder that holds `leftImg8bit` and `gtFine`.
        split: "train", "val", "trainval", "train_extra" (coarse masks) or "test". The masks of "test" are optional;
            Cityscapes gives out none.

    Raises:
        DataError: the folder is not there or not the right one, the split is missing or empty, or images lack masks.
    """
    if split not in SPLITS:
        raise DataError(f"no split {split!r}. There are: {', '.join(SPLITS)}.")
    root = Path(root)
    _check_root(root, masks={"test": None, "train_extra": COARSE}.get(split, FINE))
    return [sample for part in PARTS.get(split, (split,)) for sample in _list_folder(root, part)]


def _list_folder(root: Path, split: str) -> list[Sample]:
    kind = COARSE if split == "train_extra" else FINE
    images, masks, mask_suffix = root / IMAGES / split, root / kind / split, f"_{kind}_labelIds.png"
    if not images.is_dir():
        raise DataError(f"{images}: no such folder. Unpack the images of split {split!r} there.")
    paths = _of_cities(images, IMAGE_SUFFIX)
    if not paths:
        raise DataError(f"{images}: no images. Expected are files CITY/*{IMAGE_SUFFIX}.")
    present = _of_cities(masks, mask_suffix)
    samples, missing = [], []
    for key, path in paths.items():
        mask = present.get(key)
        if not mask and split != "test":
            missing.append((path, masks / f"{key}{mask_suffix}"))
        samples.append(Sample(unified(path.name.removesuffix(IMAGE_SUFFIX)), str(path), mask and str(mask)))
    if missing:
        image, mask = missing[0]
        raise DataError(f"{image}: its mask {mask} is missing ({len(missing)} of {len(paths)} images lack their mask).")
    return samples


def _of_cities(folder: Path, suffix: str) -> dict[str, Path]:
    """{"CITY/CITY_SSSSSS_FFFFFF": file} of the files with this suffix, sorted by path."""
    files = (file.relative_to(folder) for file in list_images(folder) if file.name.endswith(suffix))
    return {unified(file.as_posix().removesuffix(suffix)): folder / file for file in files if len(file.parts) == 2}


def _check_root(root: Path, *, masks: str | None) -> None:
    """Says which folder was meant where `root` is a level too high or too low."""
    expected = f"Give the folder that holds {IMAGES} and {masks or FINE}"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {expected} (--data_dir=DIR or CITYSCAPES_DATASET).")
    if not (root / IMAGES).is_dir():
        absolute = root.resolve()
        for folder in (absolute, *absolute.parents):
            if folder.name in (IMAGES, FINE, COARSE):
                raise DataError(f"{root}: lies inside the data set. {expected}: {folder.parent}")
        for folder in subfolders(root):
            if (folder / IMAGES).is_dir():
                raise DataError(f"{root}: one level too high. {expected}: {folder}")
        raise DataError(f"{root}: no folder {IMAGES} in it. {expected}, as the official archives unpack.")
    if masks and not (root / masks).is_dir():
        archive = {FINE: "gtFine_trainvaltest.zip", COARSE: "gtCoarse.zip"}[masks]
        raise DataError(f"{root}: {IMAGES} is there, {masks} is missing. Unpack {archive} there.")
