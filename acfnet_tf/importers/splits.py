"""Splits of a data set that consists of files: which there are, and the samples of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers.class_search import find_classes
from acfnet_tf.importers.pairs import Pairs

PARTS = {"trainval": ("train", "val")}
"""Splits that are made of others, unless the data name other images for them."""

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
"""Folders of splits, in lower case → what the splits are called here. Any other split has the name of its folder."""


def parts_of(source: DataSource, split: str) -> tuple[str, ...]:
    """The splits that this one is made of; itself where the data do not have all of these."""
    parts = PARTS.get(split, (split,))
    return parts if {*parts} <= {*source.splits} else (split,)


def open_splits(
    name: str,
    root: Path,
    splits: Mapping[str, Pairs],
    config: DataConfig,
    classes: ClassSet | None,
    default_classes: ClassSet | None = None,
) -> DataSource:
    """The data set of these splits. Masks may be missing where the network neither learns from them nor is validated.

    Args:
        name: what it is and where, such as "folder /data/kitchens".
        root: its folder.
        classes: those of a trained model, instead of what the data say.
        default_classes: where neither the settings nor a class file in `root` name others.

    Raises:
        DataError: the classes cannot be found out.
    """
    needing_masks = {"train", "val", *PARTS, config.train_split, config.val_split}

    def list_samples(split: str) -> list[Sample]:
        if split not in splits:
            names = ", ".join(splits)
            raise DataError(f"{root}: no split {split!r}. There are: {names} (data.train_split, data.val_split).")
        samples, problem, _ = splits[split]
        if problem and (split in needing_masks or not samples):
            raise DataError(problem)
        return list(samples)

    notes = []
    if not classes:
        learned = [split for split in ("train", "val") if split in splits and splits[split].samples]
        masks = (sample.label for split in learned or splits for sample in list_samples(split) if sample.label)
        classes, note = find_classes(config, root, masks, default_classes)
        notes.append(note)
    spare = [mask for pairs in splits.values() for mask in pairs.spare]
    if spare:
        notes.append(f"Masks without an image: {len(spare)}, such as {spare[0]}.")
    present = tuple(split for split, pairs in splits.items() if pairs.samples)
    return DataSource(name, classes, list_samples, present, " ".join(filter(None, notes)), root)


def split_by_name(pairs: Pairs, val_fraction: float, where: Path) -> dict[str, Pairs]:
    """Deals samples to "train" and "val" by their names alone: a sample stays where it is when others are added.

    Args:
        val_fraction: how much of the data goes to "val", about.
        where: the data, for error messages.
    """

    def is_val(sample: Sample) -> bool:
        digest = hashlib.sha1(os.fsencode(sample.name)).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < val_fraction

    def part(split: str, samples: list[Sample]) -> Pairs:
        problem = pairs.problem
        if pairs.samples and not samples:
            problem = (
                f"{where}: none of its {len(pairs.samples)} images is in {split} at data.val_fraction={val_fraction}."
                " Set another one, or lay out train and val yourself (folders, or a column split of a CSV file)."
            )
        return Pairs(samples, problem)

    return {
        "train": part("train", [sample for sample in pairs.samples if not is_val(sample)]),
        "val": part("val", [sample for sample in pairs.samples if is_val(sample)]),
        "trainval": pairs,
    }


def named_splits(listed: dict[str, Pairs], where: Path) -> dict[str, Pairs]:
    """The splits under their usual names, and those that are made of them."""
    splits: dict[str, Pairs] = {}
    for name, pairs in listed.items():
        usual = SPLIT_NAMES.get(name.lower(), name)
        if usual in splits:
            raise DataError(f"{where}: {usual} is there twice, once as {name}. Rename one of the two.")
        splits[usual] = pairs
    for whole, parts in PARTS.items():
        if {*parts} <= splits.keys() and whole not in splits:
            samples = [sample for part in parts for sample in splits[part].samples]
            if len({sample.name for sample in samples}) < len(samples):
                samples = [s._replace(name=f"{part}/{s.name}") for part in parts for s in splits[part].samples]
            problems = [splits[part].problem for part in parts if splits[part].problem]
            splits[whole] = Pairs(samples, problems[0] if problems else "")
    return splits
