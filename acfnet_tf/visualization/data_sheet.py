"""Contact sheets of a data set: image, overlay and mask of samples, as they are stored or as training sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.reading import read_image, read_values
from acfnet_tf.data.sample import Sample
from acfnet_tf.files import replaced
from acfnet_tf.visualization.palette import colorize, overlay
from acfnet_tf.visualization.panels import draw_sheet

_TITLES = ("image", "overlay", "mask")
_WIDTH = 400
_CAPTION_HEIGHT, _FONT_SIZE = 22, 14
_UNKNOWN_COLOR = (255, 0, 255)


class _Picture(NamedTuple):
    """name; image (H, W, 3) uint8; labels (H, W) uint8 or uint16."""

    name: str
    image: np.ndarray
    labels: np.ndarray


def write_contact_sheet(samples: Sequence[Sample], classes: ClassSet, file: str | Path, count: int = 12) -> Path | None:
    """Draws samples from all over the data: image, mask laid over it, mask.

    Ignored pixels are black, values that are in no class magenta. A pair that cannot be read, or whose mask is not of
    the image's size, is left out.

    Args:
        samples: of one split.
        classes: of the data.
        file: the PNG; its folder is made if needed.
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
        classes: of the data.
        file: the PNG; its folder is made if needed.
        count: rows at most.

    Returns:
        The file, or None where there are no batches.
    """
    crops = (
        _Picture("", np.rint(image).clip(0, 255).astype(np.uint8), label)
        for batch in batches
        for image, label in zip(np.asarray(batch["image"]), np.asarray(batch["label"]), strict=True)
    )
    named = (crop._replace(name=f"crop {number}") for number, crop in enumerate(crops, 1))
    return _write(named, classes, Path(file), count)


def _read(samples: Iterable[Sample], classes: ClassSet) -> Iterator[_Picture]:
    """Those that can be drawn."""
    for sample in samples:
        try:
            image = read_image(sample.image, upright=False)
            values = None if sample.label is None else read_values(sample.label, classes.coding)
        except DataError:
            continue
        if values is not None and values.shape == image.shape[:2]:
            yield _Picture(sample.name, image, classes.table[values])


def _write(pictures: Iterable[_Picture], classes: ClassSet, file: Path, count: int) -> Path | None:
    # Values in no class are drawn and explained like one more class.
    shown = dataclasses.replace(
        classes, names=(*classes.names, "in no class"), colors=(*classes.colors, _UNKNOWN_COLOR)
    )
    rows, occurring = [], set()
    for name, image, labels in islice(pictures, count):
        labels = np.where(labels == classes.unknown_label, labels.dtype.type(len(classes)), labels)
        colors = np.array(shown.colors, np.uint8)
        panels = (image, overlay(image, labels, colors), colorize(labels, colors))
        rows.append({title: _panel(pixels, title, name) for title, pixels in zip(_TITLES, panels, strict=True)})
        occurring |= set(np.unique(labels).tolist())
    if not rows:
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as partial:
        draw_sheet(rows, shown, occurring, _TITLES).save(partial, "PNG")
    return file


def _panel(pixels: np.ndarray, title: str, name: str) -> Image.Image:
    """Scaled, under a line that holds the sample's name in the first column and nothing in the others."""
    height = max(1, round(pixels.shape[0] * _WIDTH / pixels.shape[1]))
    # A mask keeps its colours as they are.
    method = Image.Resampling.NEAREST if title == "mask" else Image.Resampling.LANCZOS
    panel = Image.new("RGB", (_WIDTH, _CAPTION_HEIGHT + height), "white")
    panel.paste(Image.fromarray(pixels).resize((_WIDTH, height), method), (0, _CAPTION_HEIGHT))
    if title == _TITLES[0]:
        font = ImageFont.load_default(_FONT_SIZE)
        while font.getlength(name) > _WIDTH:  # the end of a long path tells more than its beginning
            name = f"…{name.lstrip('…')[1:]}"
        ImageDraw.Draw(panel).text((0, _CAPTION_HEIGHT // 2), name, "black", font, anchor="lm")
    return panel
