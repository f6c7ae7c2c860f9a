"""Reads a whole data set and says what is wrong with it, before anybody trains on it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from acfnet_tf.checks.files import find_file_faults
from acfnet_tf.checks.finding import Finding
from acfnet_tf.checks.pair import Pair, inspect_pair
from acfnet_tf.checks.values import UnknownValue, collect_unknown, find_value_faults
from acfnet_tf.data.sample import DataSource
from acfnet_tf.errors import DataError
from acfnet_tf.importers.counts import class_pixels
from acfnet_tf.importers.splits import PARTS


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds.

    Attributes:
        images: how many it lists.
        masks: how many of their masks can be read.
        image_sizes: {(width, height): images}, of readable images, the most frequent first.
        image_kinds: {"PNG RGB": images}, the most frequent first.
        mask_kinds: {"PNG P": masks}, the most frequent first.
        class_pixels: (masks, N) int64 pixels of each class in each readable mask.
        ignored: pixels that are ignored.
        unknown: pixels whose value is in no class.
    """

    images: int
    masks: int
    image_sizes: dict[tuple[int, int], int]
    image_kinds: dict[str, int]
    mask_kinds: dict[str, int]
    class_pixels: np.ndarray
    ignored: int
    unknown: int


@dataclass(frozen=True)
class CheckResult:
    """What a data set holds, and what is wrong with it.

    Attributes:
        source: the data set.
        splits: what each split holds; those that could not be listed are not there.
        findings: errors first. None at all where nothing is wrong.
        unknown: values in no class, the most frequent first.
    """

    source: DataSource
    splits: dict[str, SplitCounts]
    findings: tuple[Finding, ...]
    unknown: tuple[UnknownValue, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors


def check_data(source: DataSource, splits: Sequence[str], *, progress: bool = True) -> CheckResult:
    """Reads every image and every mask of the splits once, on all cores.

    Nothing that is wrong with the data is raised; it is among the findings. A split that is made of others is left out
    where these are among `splits`.

    Args:
        source: the data set.
        splits: names of its splits. Those that begin with "train" are for training, those with "test" need no masks.
        progress: show a bar, on a terminal.
    """
    listed, findings = [], []
    for split in dict.fromkeys(splits):
        if split in PARTS and {*PARTS[split]} <= {*splits}:
            continue
        try:
            listed += [(split, sample) for sample in source.list_samples(split)]
        except DataError as error:
            findings.append(Finding("error", "split", f"Split {split}: {error}"))
    classes = source.classes
    _ = classes.table  # It is made here once, not by every thread at the same time.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        inspected = pool.map(lambda entry: inspect_pair(*entry, classes), listed)
        pairs = list(tqdm(inspected, "Checking", len(listed), unit="image", disable=None if progress else True))

    readable = [pair for pair in pairs if pair.mask and not pair.mask.error]
    pixels = class_pixels([pair.mask.file for pair in readable], [pair.mask.known for pair in readable], classes)
    findings += find_file_faults(pairs, classes)
    findings += find_value_faults(readable, pixels, classes)
    counts = {}
    for split in dict.fromkeys(pair.split for pair in pairs):
        inside = np.array([pair.split == split for pair in readable], bool)
        counts[split] = _count([pair for pair in pairs if pair.split == split], pixels[inside])
    findings.sort(key=lambda finding: finding.severity)  # "error" comes before "warning".
    return CheckResult(source, counts, tuple(findings), tuple(collect_unknown(readable)))


def _count(pairs: Sequence[Pair], pixels: np.ndarray) -> SplitCounts:
    """Counts what one split holds; pixels: (readable masks, N)."""
    masks = [pair.mask for pair in pairs if pair.mask]
    known = sum(int(mask.known.pixels.sum()) for mask in masks)
    return SplitCounts(
        images=len(pairs),
        masks=len(pixels),
        image_sizes=dict(Counter(pair.image.size for pair in pairs if not pair.image.error).most_common()),
        image_kinds=dict(Counter(pair.image.kind for pair in pairs).most_common()),
        mask_kinds=dict(Counter(mask.kind for mask in masks).most_common()),
        class_pixels=pixels,
        ignored=known - int(pixels.sum()),
        unknown=sum(mask.unknown_pixels for mask in masks),
    )
