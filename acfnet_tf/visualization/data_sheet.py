"""Contact sheets of a data set: image, overlay and mask of samples, as they are stored or as training sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import read_image, read_values
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from acfnet_tf.files import writing
from acfnet_tf.pictures import Picture, encoded
from acfnet_tf.visualization import panels
from acfnet_tf.visualization.palette import overlay, resized

_TITLES = ("image", "overlay", "mask")
_DPI = 180
_UNKNOWN_COLOR = (255, 0, 255)


def write_contact_sheet(samples: Sequence[Sample], classes: ClassSet, file: str | Path, count: int = 12) -> Path | None:
    """Draws samples from all over the data: image, mask laid over it, mask.

    Ignored pixels are black, values that are in no class magenta. A pair that cannot be read, or whose mask is not of
    the image's size, is left out.

    Args:
        file: the PNG.
        count: rows at most.

    Returns:
        The file, or None where no sample can be drawn.
    """
    step = max(1, len(samples) // count)
    # Evenly spread samples first; then others, in case that some of the first cannot be drawn.
    order = [samples[index] for start in range(step) for index in range(start, len(samples), step)]
    return _write(_read(order[: 4 * count], classes), classes, Path(file), count)


def write_augmented_sheet(
    batches: Iterable[Mapping[str, ArrayLike]], classes: ClassSet, file: str | Path, count: int = 12
) -> Path | None:
    """Draws training crops as the network sees them, augmented and padded: image, mask laid over it, mask.

    Args:
        batches: of the training pipeline: "image" (B, h, w, 3) in 0–255 and "label" (B, h, w) labels. No more of them
            are taken than are drawn.
        file: the PNG.
        count: rows at most.

    Returns:
        The file, or None where there are no batches.
    """
    pairs = (pair for batch in batches for pair in zip(*map(np.asarray, (batch["image"], batch["label"])), strict=True))
    crops = (
        Picture(f"crop {number}", np.rint(image).clip(0, 255).astype(np.uint8), label)
        for number, (image, label) in enumerate(pairs, 1)
    )
    return _write(crops, classes, Path(file), count)


def _read(samples: Iterable[Sample], classes: ClassSet) -> Iterator[Picture]:
    """Those that can be drawn."""
    for sample in samples:
        try:
            image = read_image(sample.image)
            values = None if sample.label is None else read_values(sample.label, classes.coding)
        except DataError:
            continue
        if values is not None and values.shape == image.shape[:2]:
            yield Picture(sample.name, image, classes.table[values])


@panels.styled
def _write(pictures: Iterable[Picture], classes: ClassSet, file: Path, count: int) -> Path | None:
    """Draws the first `count` of them, which all have labels."""
    # Values in no class are drawn and explained like one more class.
    shown = dataclasses.replace(
        classes, names=(*classes.names, "in no class"), colors=(*classes.colors, _UNKNOWN_COLOR)
    )
    rows, occurring = [], set()
    for name, image, labels in islice(pictures, count):
        labels = np.where(labels == classes.unknown_label, labels.dtype.type(len(classes)), labels)
        occurring.update(np.unique(labels).tolist())
        step = max(1, image.shape[1] // panels.PANEL_PIXELS)  # large photos are not kept
        size = tuple(-(-length // step) for length in labels.shape)
        rows.append(Picture(name, resized(image, size), resized(labels, size)))
    if not rows:
        return None
    figure, axes = panels.grid(len(rows), len(_TITLES), [row.size[0] / row.size[1] for row in rows])
    for row, (name, image, labels) in zip(axes, rows, strict=True):
        panels.show_image(row[0], image)
        panels.show_image(row[1], overlay(image, labels, shown.colors))
        panels.show_labels(row[2], labels, shown)
        panels.caption(row[0], name)
    for panel, title in zip(axes[0], _TITLES, strict=True):
        panel.set_title(title, pad=panels.ABOVE_CAPTIONS)
    panels.class_legend(figure, shown, occurring)
    panels.fit(figure, axes)
    with writing(file) as partial:
        partial.write_bytes(encoded(panels.to_array(figure, _DPI)))
    return file
