"""Reads single images and masks in Python, and says in one line what is wrong with a file.

Training and exported models read common files in TensorFlow (`decoding.py`), to the same pixels; these readers serve
evaluation, prediction, checking, all other formats, and error messages.

Every picture, image or mask, is turned as the orientation in its EXIF part says, or in the tags of a TIFF. Nothing else
turns a picture: an orientation in XMP or in the texts of a PNG does not count.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Piece, Sample, read_bytes
from acfnet_tf.errors import DataError

PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
"""The first 16 bytes of every PNG. Width and height (4 bytes each) follow, then bit depth and colour type."""

_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4

Source = str | Path | Piece


def read_image(source: Source, *, max_pixels: int | None = None, setting: str = "evaluation.max_pixels") -> np.ndarray:
    """Any picture as RGB, upright: grey, palette, 16-bit and CMYK are converted, transparency is dropped.

    Args:
        source: PNG, JPEG, BMP, WebP, TIFF or whatever else Pillow reads.
        max_pixels: a larger image is refused before it is decoded.
        setting: which one `max_pixels` is from, to be named then.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: not there, damaged, too large, or no image.
    """
    return image_of(read_bytes(source), source, max_pixels=max_pixels, setting=setting)


def image_of(content: bytes, source: Source, *, max_pixels: int | None = None, setting: str = "") -> np.ndarray:
    """`read_image` of bytes that were read from `source` already."""
    image, orientation = _decode(source, content, max_pixels, setting)
    if image.mode.startswith("I;16"):
        # The upper byte, as TensorFlow does; Pillow would clip everything above 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{source}: pixels of 32 bits have no agreed range. Save the image with 8 or 16 bits a channel."
        )
    if image.mode == "CMYK":
        light = 255 - np.asarray(image, np.uint16)
        image = Image.fromarray((light[..., :3] * light[..., 3:] // 255).astype(np.uint8))  # As TensorFlow rounds.
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return np.array(_turned(np.asarray(image.convert("RGB")), orientation), order="C")


def read_values(source: Source, coding: str) -> np.ndarray:
    """What a mask stores, upright; see `ClassSet` for the two codings.

    Args:
        source: PNG, or another format that keeps pixels as they are; not JPEG.
        coding: "index": a grey or palette picture, of which the indices count, never the colours; "color": RGB.

    Returns:
        (H, W) uint8 or uint16, or int32 of packed colours.

    Raises:
        DataError: not there, damaged, or not a mask of this coding.
    """
    return values_of(read_bytes(source), source, coding)


def values_of(content: bytes, source: Source, coding: str) -> np.ndarray:
    """`read_values` of bytes that were read from `source` already."""
    image, orientation = _decode(source, content)
    return np.ascontiguousarray(_turned(_stored_values(image, content, source, coding), orientation))


def _stored_values(image: Image.Image, content: bytes, source: Source, coding: str) -> np.ndarray:
    if image.format in ("JPEG", "MPO", "JPEG2000"):
        raise DataError(f"{source}: a {image.format} cannot be a mask: it does not keep values. Save masks as PNG.")
    if coding == "color":
        if image.mode not in ("RGB", "RGBA"):
            raise DataError(
                f"{source}: a colour mask must be RGB, this is a {image.format} of mode {image.mode}."
                " If its numbers are the classes, set data.masks=index."
            )
        red, green, blue = np.moveaxis(np.asarray(image, np.int32)[..., :3], -1, 0)
        return red << 16 | green << 8 | blue
    if image.mode not in ("L", "P", "1", "LA", "PA") and not image.mode.startswith("I"):
        raise DataError(
            f"{source}: a mask must be one channel of class numbers (a grey or palette PNG), this is a {image.format}"
            f" of mode {image.mode}. For colour masks, give the colours in a class file (data.classes=FILE) and set"
            " data.masks=color."
        )
    values = np.asarray(image)
    values = values[..., 0] if values.ndim == 3 else values
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype != np.uint8:
        if values.size and (values.min() < 0 or values.max() > 65_535):
            raise DataError(f"{source}: values outside 0–65535.")
        return values.astype(np.uint16)
    if image.mode == "L" and content[:16] == PNG_START and content[24] in (2, 4):
        return values // (255 // (2 ** content[24] - 1))  # Pillow stretches 2 and 4 bits over 0–255.
    return values


def read_label(source: Source, classes: ClassSet) -> np.ndarray:
    """A mask as labels.

    Returns:
        (H, W) of `classes.label_type`: 0 … N−1, and `classes.ignore_label`.

    Raises:
        DataError: as `read_values`, or values that are in no class.
    """
    values = read_values(source, classes.coding)
    labels = classes.table[values]
    if (labels == classes.unknown_label).any():
        raise DataError(f"{source}: {unknown_values(*np.unique(values, return_counts=True), classes)}")
    return labels


def unknown_values(values: np.ndarray, pixels: np.ndarray, classes: ClassSet) -> str:
    """The part of an error message that names the values in no class, and the right ones.

    Args:
        values: (K,) what a mask holds.
        pixels: (K,) how often.
    """
    unknown = [
        (value, count)
        for value, count in zip(values.tolist(), pixels.tolist(), strict=True)
        if value not in classes.values
    ]
    shown = ", ".join(f"{classes.show_value(value)} ({count} pixels)" for value, count in unknown[:8])
    more = f", and {len(unknown) - 8} other values" if len(unknown) > 8 else ""
    known = sorted(classes.values)
    if classes.coding == "index":
        starts = [value for value in known if value - 1 not in classes.values]
        ends = [value for value in known if value + 1 not in classes.values]
        right = ", ".join(f"{a}–{b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))
    else:
        right = ", ".join(map(classes.show_value, known[:8])) + (", …" if len(known) > 8 else "")
    hint = ""
    if classes.names == CITYSCAPES.names and [value for value, _ in unknown] == [255] and (values[:-1] <= 18).all():
        hint = " They seem to be trainIds: give the *_labelIds.png."
    return f"values that are in no class: {shown}{more}. Known are {right}.{hint}"


def load_sample(sample: Sample, classes: ClassSet) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 and the labels (H, W) of one sample.

    Raises:
        DataError: either file is bad, there is no mask, or the two differ in size.
    """
    if sample.label is None:
        raise DataError(f"{sample.image}: has no mask.")
    image, label = read_image(sample.image), read_label(sample.label, classes)
    if image.shape[:2] != label.shape:
        (image_height, image_width), (height, width) = image.shape[:2], label.shape
        raise DataError(
            f"{sample.label}: the mask is {width}×{height},"
            f" but its image {sample.image} is {image_width}×{image_height}."
        )
    return image, label


@contextlib.contextmanager
def open_picture(file: str | BinaryIO) -> Iterator[Image.Image]:
    """`Image.open` of pictures of any size: what is too large is said by our settings, not by Pillow's limit.

    That limit is one for the whole process. It stands again when the last of these contexts is left.
    """
    _any_size(+1)
    try:
        with Image.open(file) as image:
            yield image
    finally:
        _any_size(-1)


_limit_lock, _limits = threading.Lock(), []


def _any_size(change: int) -> None:
    with _limit_lock:
        if change > 0:
            _limits.append(Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
        else:
            limit = _limits.pop()
            if not _limits:
                Image.MAX_IMAGE_PIXELS = limit


def stored_orientation(image: Image.Image) -> int:
    """The orientation, 1–8, from which an opened picture is to be turned; 1, upright, where there is none.

    `acfnet_tf.export.image_header` reads the same in TensorFlow. Of a decoded TIFF it is 1: Pillow has turned it.
    """
    if image.format == "TIFF":
        orientation = image.tag_v2.get(_ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1
    exif = image.info.get("exif", b"")
    if image.format == "PNG":
        exif = exif.removeprefix(_EXIF)  # Pillow puts it there.
    for _ in range(2):  # Some programs write the start of JPEG's segment in other formats too, or twice.
        exif = exif.removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if not order or len(exif) < 8:
        return 1
    (table,) = struct.unpack_from(f"{order}I", exif, 4)
    entries = int.from_bytes(exif[table : table + 2], "little" if order == "<" else "big")
    for at in range(table + 2, min(table + 2 + 12 * entries, len(exif) - 11), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, at)
        if tag == _ORIENTATION and kind in (_SHORT, _LONG) and count == 1:
            (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), exif, at + 8)
            return value if value in range(1, 9) else 1
    return 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, …) as stored to (H, W, …) or (W, H, …) as it is to be seen; a view."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _decode(
    source: Source, content: bytes, max_pixels: int | None = None, setting: str = ""
) -> tuple[Image.Image, int]:
    """The picture, fully decoded, and the orientation from which it still has to be turned."""
    if not content:
        raise DataError(f"{source}: the file is empty.")
    content = without_texts(content)
    try:
        with open_picture(io.BytesIO(content)) as image:
            # Checksums of PNG chunks: decoding alone does not look at them, TensorFlow does.
            image.verify()
        with open_picture(io.BytesIO(content)) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                size = f"{image.width}×{image.height}"
                raise DataError(f"{source}: {size} are more than {max_pixels:,} pixels ({setting}).")
            image.info.pop("xmp", None)  # Pillow would turn a TIFF as it says.
            image.load()
            return image, stored_orientation(image)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{source}: {image.width}×{image.height} pixels do not fit into the free memory.") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{source}: not an image.") from error
    except Exception as error:  # Pillow answers damaged files with exceptions of many kinds, not only OSError.
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: damaged or cut off ({reason}). Copy or unpack it again.") from error


def without_texts(png: bytes) -> bytes:
    """The chunks of a PNG that make the picture, and its EXIF, put before the pixels; another file is not changed.

    Pillow refuses pictures about which much is written, or something damaged. TensorFlow does not look at it.
    """
    if not png.startswith(PNG_START):
        return png
    file, chunks = io.BytesIO(png), [PNG_START[:8]]
    file.seek(8)
    # What has no name of letters is no chunk: TensorFlow refuses such a file, and the zeros that may follow a damaged
    # one have no end.
    while (kind := (begin := file.read(8))[4:]).isalpha():
        chunk = begin + file.read(int.from_bytes(begin[:4], "big") + 4)
        # The names of critical chunks begin with a capital.
        if kind[:1].isupper() or kind in (b"tRNS", b"eXIf"):
            chunks.insert(2 if kind == b"eXIf" else len(chunks), chunk)
        if kind == b"IEND":
            break
    return b"".join(chunks)
