"""Reads one pair of a data set for its check: what is in the image and in the mask, in a few hundred bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import image_of, open_picture, stored_orientation, values_of, without_texts
from acfnet_tf.data.sample import Piece, Sample, read_bytes
from acfnet_tf.errors import DataError
from acfnet_tf.importers.counts import NO_VALUES, ValueCounts, count_in

MOST_UNKNOWN = 64
"""So many of the values in no class are kept of a mask; a photograph taken for a colour mask has thousands."""


@dataclass(frozen=True)
class PictureFacts:
    """What an image and a mask have in common.

    Attributes:
        file: its path, or which piece of which file.
        error: why it cannot be read, or None.
        kind: format and mode, such as "PNG RGB".
        size: (width, height), upright.
        orientation: in which it is turned; 1 where it is not.
        other_orientation: what is written elsewhere, such as in XMP, and does not count; 1 where nothing is.
    """

    file: str
    error: str | None = None
    kind: str = "unknown"
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    other_orientation: int = 1


@dataclass(frozen=True)
class ImageFacts(PictureFacts):
    """An image. `digest` is the same for the same pixels."""

    digest: bytes = b""


@dataclass(frozen=True)
class MaskFacts(PictureFacts):
    """A mask.

    Attributes:
        known: the values that are classes or ignored.
        unknown: the other values, the most frequent `MOST_UNKNOWN` of them.
        unknown_kinds: how many other values there are.
        unknown_pixels: pixels that have any of them.
        colors: the most frequent colours, packed, of a picture in colour that should hold numbers.
    """

    known: ValueCounts = NO_VALUES
    unknown: ValueCounts = NO_VALUES
    unknown_kinds: int = 0
    unknown_pixels: int = 0
    colors: ValueCounts = NO_VALUES


class Pair(NamedTuple):
    """A sample of a split; `mask` is None where it has none."""

    split: str
    image: ImageFacts
    mask: MaskFacts | None


def inspect_pair(split: str, sample: Sample, classes: ClassSet) -> Pair:
    """Reads and decodes image and mask once each. What is wrong with them is noted, not raised."""
    mask = None if sample.label is None else _inspect_mask(sample.label, classes)
    return Pair(split, _inspect_image(sample.image), mask)


def _inspect_image(source: str | Piece) -> ImageFacts:
    facts = ImageFacts(str(source))
    try:
        content = read_bytes(source)
        facts = replace(facts, **_header(content))
        image = image_of(content, source)
    except DataError as error:
        return replace(facts, error=str(error))
    height, width = image.shape[:2]
    # Without the shape, all plain white pictures of as many pixels would be the same.
    digest = hashlib.blake2b(image, digest_size=16, salt=np.int32([height, width]).tobytes()).digest()
    return replace(facts, size=(width, height), digest=digest)


def _inspect_mask(source: str | Piece, classes: ClassSet) -> MaskFacts:
    facts = MaskFacts(str(source))
    content = b""
    try:
        content = read_bytes(source)
        facts = replace(facts, **_header(content))
        values = values_of(content, source, classes.coding)
    except DataError as error:
        colors = NO_VALUES
        if classes.coding == "index" and content:
            with contextlib.suppress(DataError):
                colors = _most_frequent(count_in(values_of(content, source, "color")))
        return replace(facts, error=str(error), colors=colors)
    codes, pixels = count_in(values)
    is_known = classes.table[codes] != classes.unknown_label
    unknown = ValueCounts(codes[~is_known], pixels[~is_known])
    return replace(
        facts,
        size=values.shape[::-1],
        known=ValueCounts(codes[is_known], pixels[is_known]),
        unknown=_most_frequent(unknown),
        unknown_kinds=len(unknown.values),
        unknown_pixels=int(unknown.pixels.sum()),
    )


def _most_frequent(counts: ValueCounts) -> ValueCounts:
    """The first `MOST_UNKNOWN` in order of frequency, ascending by value again."""
    order = np.sort(np.argsort(-counts.pixels, kind="stable")[:MOST_UNKNOWN])
    return ValueCounts(counts.values[order], counts.pixels[order])


def _header(content: bytes) -> dict[str, Any]:
    """What a file says of its picture, without decoding it: `kind`, `orientation`, `other_orientation`."""
    facts: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # A damaged file raises many kinds; the reader says what is wrong with it.
        with open_picture(io.BytesIO(without_texts(content))) as image:
            facts["kind"] = f"{image.format} {image.mode}"
            facts["orientation"] = stored_orientation(image)
        with open_picture(io.BytesIO(content)) as image:
            image.info.pop("exif", None)
            # The method of PNGs would decode the whole picture first.
            other = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            facts["other_orientation"] = other if other in range(1, 9) and other != facts["orientation"] else 1
    return facts
