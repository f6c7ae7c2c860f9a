"""Reads single images and masks in Python, and says in one line what is wrong with a file.

Training reads the same files in TensorFlow (`pipeline.py`); these readers serve evaluation, prediction and error
messages.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from acfnet_tf.data.cityscapes import Sample
from acfnet_tf.data.cityscapes_labels import IGNORE_LABEL, TRAIN_IDS, UNKNOWN_LABEL
from acfnet_tf.data.errors import DataError

PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
"""The first 16 bytes of every PNG. Width and height (4 bytes each) follow, then bit depth and colour type."""
GREY_8_BIT = b"\x08\x00"
"""Bytes 24 and 25 of a PNG with one 8-bit channel."""


def read_image(path: str | Path, *, upright: bool = True) -> np.ndarray:
    """Any picture as RGB: grey, palette, 16-bit and CMYK are converted, transparency is dropped.

    Args:
        path: PNG, JPEG, BMP, WebP, TIFF or whatever else Pillow reads.
        upright: turn the image as its EXIF orientation says. Not for images with masks: those are drawn on the pixels
            as they are stored, and TensorFlow reads them so in training.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: not there, damaged, or no image.
    """
    image = _decode(path, _read_bytes(path))
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # The upper byte, as TensorFlow does; Pillow would clip everything above 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(f"{path}: pixels of 32 bits have no agreed range. Save the image with 8 or 16 bits a channel.")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def read_label(path: str | Path) -> np.ndarray:
    """A mask of Cityscapes labelIds as trainIds.

    Returns:
        (H, W) uint8: 0–18, and 255 = ignored.

    Raises:
        DataError: not there, damaged, not a single-channel 8-bit PNG, or with values that are no labelIds.
    """
    content = _read_bytes(path)
    image = _decode(path, content)
    if content[:16] != PNG_START or content[24:26] != GREY_8_BIT:
        raise DataError(
            f"{path}: a mask must be a PNG with one 8-bit channel of labelIds,"
            f" this is a {image.format} of mode {image.mode}."
            " Colour and palette pictures are no masks: save the labelIds as an 8-bit grey PNG."
        )
    label_ids = np.asarray(image)
    train_ids = TRAIN_IDS[label_ids]
    if (train_ids == UNKNOWN_LABEL).any():
        values = np.unique(label_ids)
        unknown = [int(value) for value in values if TRAIN_IDS[value] == UNKNOWN_LABEL]
        shown = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
        hint = ""
        if unknown == [IGNORE_LABEL] and all(value <= 18 for value in values[:-1]):
            hint = " It seems to hold trainIds: give the *_labelIds.png."
        raise DataError(f"{path}: values that are no labelIds (0–33): {shown}.{hint}")
    return train_ids


def load_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 and mask (H, W) uint8 of trainIds of one sample.

    Raises:
        DataError: either file is bad, there is no mask, or the two differ in size.
    """
    if sample.label is None:
        raise DataError(f"{sample.image}: has no mask.")
    image, label = read_image(sample.image, upright=False), read_label(sample.label)
    if image.shape[:2] != label.shape:
        (image_height, image_width), (height, width) = image.shape[:2], label.shape
        raise DataError(
            f"{sample.label}: the mask is {width}×{height},"
            f" but its image {sample.image} is {image_width}×{image_height}."
        )
    return image, label


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _decode(path: str | Path, content: bytes) -> Image.Image:
    """The picture, fully decoded."""
    if not content:
        raise DataError(f"{path}: the file is empty.")
    try:
        # Checksums of PNG chunks: decoding alone does not look at them, TensorFlow does.
        Image.open(io.BytesIO(content)).verify()
        image = Image.open(io.BytesIO(content))
        image.load()
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image.") from error
    except Exception as error:  # Pillow answers damaged files with exceptions of many kinds, not only OSError.
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: damaged or cut off ({reason}). Copy or unpack it again.") from error
    return image
