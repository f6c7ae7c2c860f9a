"""Reads the folder tree of Cityscapes, as its official archives unpack and as the generated street scenes are written.

ROOT/leftImg8bit/{train,val,test}/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png
ROOT/gtFine/{train,val,test}/CITY/CITY_SSSSSS_FFFFFF_gtFine_labelIds.png
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from acfnet_tf.data.errors import DataError

IMAGES, MASKS = "leftImg8bit", "gtFine"
IMAGE_SUFFIX, MASK_SUFFIX = "_leftImg8bit.png", "_gtFine_labelIds.png"
SPLITS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}


class Sample(NamedTuple):
    """One image with its mask, by path.

    Attributes:
        name: CITY_SSSSSS_FFFFFF, for instance "frankfurt_000000_000294".
        image: path of the image.
        label: path of the mask of labelIds; None where the split has none.
    """

    name: str
    image: str
    label: str | None


def list_samples(root: str | Path, split: str) -> list[Sample]:
    """Every sample of a split, sorted by path.

    Args:
        root: the folder that holds `leftImg8bit` and `gtFine`.
        split: "train", "val", "trainval" or "test". The masks of "test" are optional; Cityscapes gives out none.

    Raises:
        DataError: the folder is not there or not the right one, the split is missing or empty, or images lack masks.
    """
    if split not in SPLITS:
        raise DataError(f"no split {split!r}. There are: {', '.join(SPLITS)}.")
    root = Path(root).expanduser()
    _check_root(root, masks=split != "test")
    return [sample for folder in SPLITS[split] for sample in _list_folder(root, folder)]


def _list_folder(root: Path, split: str) -> list[Sample]:
    images, masks = root / IMAGES / split, root / MASKS / split
    if not images.is_dir():
        raise DataError(f"{images}: no such folder. Unpack the images of split {split!r} there.")
    paths = sorted(images.glob(f"*/*{IMAGE_SUFFIX}"))
    if not paths:
        raise DataError(f"{images}: no images. Expected are files CITY/*{IMAGE_SUFFIX}.")
    present = set(masks.glob(f"*/*{MASK_SUFFIX}"))
    samples, missing = [], []
    for path in paths:
        name = path.name.removesuffix(IMAGE_SUFFIX)
        mask = masks / path.parent.name / f"{name}{MASK_SUFFIX}"
        if mask not in present and split != "test":
            missing.append((path, mask))
        samples.append(Sample(name, str(path), str(mask) if mask in present else None))
    if missing:
        image, mask = missing[0]
        raise DataError(f"{image}: its mask {mask} is missing ({len(missing)} of {len(paths)} images lack their mask).")
    return samples


def _check_root(root: Path, *, masks: bool) -> None:
    """Says which folder was meant where `root` is a level too high or too low."""
    expected = f"Give the folder that holds {IMAGES} and {MASKS}"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {expected} (--data_dir=DIR or CITYSCAPES_DATASET).")
    if not (root / IMAGES).is_dir():
        absolute = root.resolve()
        for folder in (absolute, *absolute.parents):
            if folder.name in (IMAGES, MASKS):
                raise DataError(f"{root}: lies inside the data set. {expected}: {folder.parent}")
        for folder in sorted(root.iterdir()):
            if (folder / IMAGES).is_dir():
                raise DataError(f"{root}: one level too high. {expected}: {folder}")
        raise DataError(f"{root}: no folder {IMAGES} in it. {expected}, as the official archives unpack.")
    if masks and not (root / MASKS).is_dir():
        raise DataError(f"{root}: {IMAGES} is there, {MASKS} is missing. Unpack gtFine_trainvaltest.zip there.")
