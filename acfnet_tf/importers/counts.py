"""What the masks hold: pixels of each value in each mask, counted once and kept beside the data.

From this follow the weights of the class-balanced loss (Section 3.2), which images hold rare classes, and the classes
of a data set that comes without a list of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import read_values, unknown_values
from acfnet_tf.data.sample import Piece
from acfnet_tf.errors import DataError
from acfnet_tf.files import replaced
from acfnet_tf.fingerprints import fingerprint

CACHE_FOLDER = ".acfnet_tf"


class ValueCounts(NamedTuple):
    """What one mask holds.

    Attributes:
        values: (K,) int64, what occurs in it, ascending.
        pixels: (K,) int64, how often.
    """

    values: np.ndarray
    pixels: np.ndarray


NO_VALUES = ValueCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
"""What a mask holds that cannot be read."""


def count_values(
    masks: Sequence[str | Piece], coding: str, cache_dir: Path | None = None, *, skip_bad: bool = False
) -> list[ValueCounts]:
    """Counts the values of every mask, on all cores, those of unchanged masks not again.

    Args:
        coding: of the masks; see `ClassSet`.
        cache_dir: folder of the data. The counts are kept in `.acfnet_tf` in it, each with the size and time of its
            mask; where that cannot be written, they are not kept.
        skip_bad: an unreadable mask counts nothing instead of ending it all.

    Raises:
        DataError: a mask cannot be read.
    """
    cache_file = cache_dir / CACHE_FOLDER / f"masks_{coding}.npz" if cache_dir else None
    known = _load(cache_file)
    prints = [fingerprint(mask) for mask in masks]
    missing = [index for index, mask in enumerate(masks) if known.get(str(mask), (None, None))[0] != prints[index]]

    def count(index: int) -> ValueCounts | None:
        try:
            return count_in(read_values(masks[index], coding))
        except DataError:
            if not skip_bad:
                raise
            return None

    if missing:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            counted = tqdm(pool.map(count, missing), "Counting mask values", len(missing), unit="mask", disable=None)
            for index, counts in zip(missing, counted, strict=True):
                known.pop(str(masks[index]), None)  # Nothing is left of a mask that was good once.
                if counts:
                    known[str(masks[index])] = prints[index], counts
        if cache_file:
            with contextlib.suppress(OSError):  # A read-only data set is counted each time.
                _save(cache_file, known)
    return [known.get(str(mask), ("", NO_VALUES))[1] for mask in masks]


def count_in(values: np.ndarray) -> ValueCounts:
    """Counts the values of one mask (H, W), numbers or packed colours."""
    if values.dtype == np.int32:  # Packed colours are too many for a table.
        return ValueCounts(*(part.astype(np.int64) for part in np.unique(values, return_counts=True)))
    pixels = np.bincount(values.ravel())
    occurring = np.flatnonzero(pixels)
    return ValueCounts(occurring, pixels[occurring])


def all_values(counts: Sequence[ValueCounts]) -> np.ndarray:
    """(K,) int64: every value that occurs in any mask, ascending."""
    return np.unique(np.concatenate([values for values, _ in counts])) if counts else np.zeros(0, np.int64)


def class_pixels(
    masks: Sequence[str | Piece], counts: Sequence[ValueCounts], classes: ClassSet, *, skip_bad: bool = False
) -> np.ndarray:
    """Pixels of each class in each mask, (len(masks), N) int64; ignored pixels are not counted.

    Args:
        skip_bad: a mask with values that are in no class counts nothing instead of ending it all.

    Raises:
        DataError: a mask holds values that are in no class.
    """
    table = np.zeros((len(masks), len(classes)), np.int64)
    for row, mask, (values, pixels) in zip(table, masks, counts, strict=True):
        labels = classes.table[values]
        if not (labels == classes.unknown_label).any():
            learned = labels < len(classes)
            np.add.at(row, labels[learned], pixels[learned])
        elif not skip_bad:
            raise DataError(f"{mask}: {unknown_values(values, pixels, classes)}")
    return table


def _load(file: Path | None) -> dict[str, tuple[str, ValueCounts]]:
    """{mask: (its fingerprint, its counts)}; empty where there is no such file or it is damaged."""
    if file is None:
        return {}
    try:
        with np.load(file, allow_pickle=False) as content:
            ends = np.cumsum(content["lengths"])
            columns = [np.split(content[name], ends)[:-1] for name in ValueCounts._fields]
            counts = map(ValueCounts, *columns)
            stamped = zip(content["fingerprints"].tolist(), counts, strict=True)
            return dict(zip(content["masks"].tolist(), stamped, strict=True))
    except Exception:  # NumPy and zipfile raise nearly every kind; whatever it is, counting again mends it.
        return {}


def _save(file: Path, known: dict[str, tuple[str, ValueCounts]]) -> None:
    counts = [entry for _, entry in known.values()]
    with replaced(file) as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            masks=np.array(list(known), str),
            fingerprints=np.array([stamp for stamp, _ in known.values()], str),
            lengths=np.array([len(entry.values) for entry in counts]),
            values=np.concatenate([entry.values for entry in counts]),
            pixels=np.concatenate([entry.pixels for entry in counts]),
        )
