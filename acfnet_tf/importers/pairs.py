"""Finds the mask of every image, in two folders or in a table of pairs."""

from __future__ import annotations

import csv
import difflib
import io
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from acfnet_tf.data.sample import Sample, read_text
from acfnet_tf.errors import DataError
from acfnet_tf.paths import IMAGE_SUFFIXES, list_images, spelt, unified


class Pairs(NamedTuple):
    """Images with their masks.

    Attributes:
        samples: sorted by name; `label` is None where there is no mask.
        problem: what to tell the user where there must be images, each with a mask; "" if there are.
        spare: masks that belong to no image.
    """

    samples: list[Sample]
    problem: str = ""
    spare: Sequence[Path] = ()


def list_pictures(folder: Path) -> dict[str, Path]:
    """`list_images` by name, such as "kitchen/17" for kitchen/17.jpg; names are `unified`.

    Raises:
        DataError: two files have the same name but for the suffix, or a folder cannot be read.
    """
    pictures: dict[str, Path] = {}
    for file in list_images(folder):
        name = unified(file.relative_to(folder).with_suffix("").as_posix())
        if name in pictures:
            raise DataError(f"{file}: has the same name as {pictures[name].name}. Rename or remove one of the two.")
        pictures[name] = file
    return dict(sorted(pictures.items()))


def pair_folders(image_folder: Path, mask_folder: Path, mask_suffix: str = "") -> Pairs:
    """Pairs by path relative to the two folders without the suffix: images/a/1.jpg with masks/a/1.png.

    Args:
        mask_suffix: what the names of masks have after the images' names, such as "_mask". The two folders may be the
            same if there is one.

    Raises:
        DataError: two files have the same name but for the suffix.
    """
    images, masks, mask_suffix = list_pictures(image_folder), list_pictures(mask_folder), unified(mask_suffix)
    if image_folder.resolve() == mask_folder.resolve():
        images = {name: file for name, file in images.items() if not (mask_suffix and name.endswith(mask_suffix))}
        masks = {name: file for name, file in masks.items() if name not in images}
    if not images:
        known = ", ".join(IMAGE_SUFFIXES)
        return Pairs([], f"{image_folder}: no images in it. Known are {known}.", tuple(masks.values()))
    return pair_names(images, masks, mask_folder, mask_suffix)


def pair_names(
    images: Mapping[str, Path], masks: Mapping[str, Path], mask_folder: Path, mask_suffix: str = "", where: str = ""
) -> Pairs:
    """Pairs each image with the mask of its name and the suffix.

    Args:
        images, masks: by name.
        mask_folder: where the user is told that a mask is missing.
        where: what lists the images, such as " in train.txt", for the same message.
    """
    samples = []
    spare = dict(masks)
    for name, file in images.items():
        mask = spare.pop(name + mask_suffix, None)
        samples.append(Sample(name, str(file), mask and str(mask)))
    missing = [sample for sample in samples if sample.label is None]
    problem = ""
    if missing:
        count = f"{len(missing)} of {len(samples)} images{where} lack their mask"
        expected = mask_folder / f"{missing[0].name}{mask_suffix}.png"
        problem = f"{missing[0].image}: its mask {expected} is missing ({count}).{_near(missing, spare)}"
    return Pairs(samples, problem, tuple(spare.values()))


def read_table(path: Path) -> dict[str, Pairs]:
    """Reads a CSV file with the columns image, mask and perhaps split; paths are relative to the folder it lies in.

    Returns:
        split → pairs, in the order in which the splits first occur; everything is in the split "" if there is no column
        of splits.

    Raises:
        DataError: not such a file, a file it names is not there, or an image is listed twice.
    """
    try:
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
        header = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = header
        lines = [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error}).") from error
    if not {"image", "mask"} <= set(header):
        raise DataError(f"{path}: its first line must be image,mask or image,mask,split; it is {','.join(header)!r}.")
    if not lines:
        raise DataError(f"{path}: no images in it.")
    samples: dict[str, list[Sample]] = {}
    problems: dict[str, str] = {}
    first_lines: dict[str, int] = {}
    for number, row in lines:
        image, mask, split = ((row.get(column) or "").strip() for column in ("image", "mask", "split"))
        where = f"{path}, line {number}"
        if None in row or not image or ("split" in header and not split):
            raise DataError(f"{where}: must be {','.join(header)}, and nothing but the mask may be left empty.")
        image_file, mask_file = (str(spelt(path.parent / file)) if file else None for file in (image, mask))
        for file in filter(None, (image_file, mask_file)):
            if not os.path.isfile(file):
                raise DataError(f"{where}: {file} is not there.")
        name = _name(image_file, path.parent)
        if first_lines.setdefault(name, number) != number:
            raise DataError(f"{where}: there is an image of the same name, {name}, in line {first_lines[name]}.")
        if not mask:
            problems.setdefault(split, f"{where}: {image} has no mask.")
        samples.setdefault(split, []).append(Sample(name, image_file, mask_file))
    return {split: Pairs(sorted(samples[split]), problems.get(split, "")) for split in samples}


def _name(file: str, folder: Path) -> str:
    """The name of a sample: its path in the folder, or all of its path if it lies elsewhere."""
    file, folder = Path(os.path.abspath(file)), Path(os.path.abspath(folder))
    within = file.relative_to(folder if file.is_relative_to(folder) else file.anchor)
    return unified(within.with_suffix("").as_posix())


def _near(missing: Sequence[Sample], masks: Mapping[str, Path]) -> str:
    """A sentence on the masks that could be the right ones, among those of no image."""
    name = missing[0].name
    for mask, file in masks.items():
        ending = mask.removeprefix(name)
        # "10" is not the mask of "1", and one odd name is no rule.
        likely = mask.startswith(name) and not ending[:1].isdigit() and "/" not in ending
        if likely and 2 * sum(sample.name + ending in masks for sample in missing) >= len(missing):
            return f" There is {file}: set {shlex.quote(f'data.mask_suffix={ending}')}."
    near = difflib.get_close_matches(name, masks, n=1)
    return f" The nearest name is {masks[near[0]]}." if near else ""
