"""Pictures in memory: samples as they are drawn and exported, and labels as the content of files."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample, open_picture, read_image
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError


class Picture(NamedTuple):
    """A sample in memory.

    Attributes:
        name: under which it is shown.
        image: (H, W, 3) uint8, RGB.
        label: (H, W) of `ClassSet.label_type`, the truth; None where there is no mask.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[:2]

    def check_pixel(self, x: int, y: int) -> None:
        """Sees that a pixel lies in the picture.

        Raises:
            UserError: it does not.
        """
        height, width = self.size
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"pixel {x},{y} lies outside of {self.name}, which is {width}×{height}:"
                f" x goes from 0 to {width - 1}, y from 0 to {height - 1}"
            )


def read_picture(sample: Sample, classes: ClassSet, max_pixels: int | None = None) -> Picture:
    """A sample's image, and its labels where it has a mask.

    Args:
        max_pixels: a larger image without mask is refused before it is decoded.

    Raises:
        DataError: a file is bad, the image too large, or the two differ in size.
    """
    if sample.label is None:
        return Picture(sample.name, read_image(sample.image, max_pixels=max_pixels))
    return Picture(sample.name, *load_sample(sample, classes))


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """An image (H, W, 3) uint8 or labels (H, W) as the content of a file; the options are those of Pillow's format."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def decoded_labels(png: bytes) -> np.ndarray:
    """Labels (H, W) uint8 or uint16 of a PNG that `encoded` or TensorFlow made of them."""
    with open_picture(io.BytesIO(png)) as image:
        labels = np.asarray(image)
    # Some versions of Pillow read 16 bits as 32.
    return labels if labels.dtype == np.uint8 else labels.astype(np.uint16)
