"""Reads single images and masks in Python, and says in one line what is wrong with a file.

Training reads common PNG and JPEG files in TensorFlow (`decoding.py`); these readers serve evaluation, prediction,
checking, all other formats, and error messages.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.labels.cityscapes import CITYSCAPES
from acfnet_tf.data.sample import Piece, Sample, read_bytes

PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
"""The first 16 bytes of every PNG. Width and height (4 bytes each) follow, then bit depth and colour type."""

Source = str | Path | Piece


def read_image(
    source: Source, *, upright: bool = True, max_pixels: int | None = None, setting: str = "evaluation.max_pixels"
) -> np.ndarray:
    """Any picture as RGB: grey, palette, 16-bit and CMYK are converted, transparency is dropped.

    Args:
        source: PNG, JPEG, BMP, WebP, TIFF or whatever else Pillow reads.
        upright: turn the image as its EXIF orientation says. Not for images with masks: those are drawn on the pixels
            as they are stored, and TensorFlow reads them so in training.
        max_pixels: a larger image is refused before it is decoded.
        setting: which one `max_pixels` is from, to be named then.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: not there, damaged, too large, or no image.
    """
    return image_of(read_bytes(source), source, upright=upright, max_pixels=max_pixels, setting=setting)


def image_of(
    content: bytes, source: Source, *, upright: bool, max_pixels: int | None = None, setting: str = ""
) -> np.ndarray:
    """`read_image` of bytes that were read from `source` already."""
    image = _decode(source, content, max_pixels, setting)
    if upright:
        with contextlib.suppress(
            Exception
        ):  # what is written about a picture may be damaged without the picture being so
            image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # The upper byte, as TensorFlow does; Pillow would clip everything above 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{source}: pixels of 32 bits have no agreed range. Save the image with 8 or 16 bits a channel."
        )
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def read_values(source: Source, coding: str) -> np.ndarray:
    """What a mask stores; see `ClassSet` for the two codings.

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
    image = _decode(source, content)
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
    image, label = read_image(sample.image, upright=False), read_label(sample.label, classes)
    if image.shape[:2] != label.shape:
        (image_height, image_width), (height, width) = image.shape[:2], label.shape
        raise DataError(
            f"{sample.label}: the mask is {width}×{height},"
            f" but its image {sample.image} is {image_width}×{image_height}."
        )
    return image, label


def _decode(source: Source, content: bytes, max_pixels: int | None = None, setting: str = "") -> Image.Image:
    """The picture, fully decoded."""
    if not content:
        raise DataError(f"{source}: the file is empty.")
    try:
        # Checksums of PNG chunks: decoding alone does not look at them, TensorFlow does.
        Image.open(io.BytesIO(content)).verify()
        image = Image.open(io.BytesIO(content))
        if max_pixels is None or image.width * image.height <= max_pixels:
            image.load()
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{source}: not an image.") from error
    except MemoryError as error:
        raise DataError(f"{source}: not enough memory to decode it.") from error
    except Exception as error:  # Pillow answers damaged files with exceptions of many kinds, not only OSError.
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: damaged or cut off ({reason}). Copy or unpack it again.") from error
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise DataError(f"{source}: {image.width}×{image.height} are more than {max_pixels:,} pixels ({setting}).")
    return image
