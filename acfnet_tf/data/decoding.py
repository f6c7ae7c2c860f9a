"""Decodes samples in TensorFlow, for training and exported models: the same pixels and values as `reading.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import PNG_START, image_of, values_of
from acfnet_tf.data.sample import Piece, Sample, read_bytes
from acfnet_tf.errors import DataError

JPEG_START = b"\xff\xd8\xff"
DECODING = 2
"""The version of decoding: it counts up when the pixels of a file change, so that no cache of before is taken."""

_TOO_MANY_PIXELS, _LONGEST_SIDE = 2**29, 1_000_000
"""Limits of TensorFlow, and of the libpng in it."""

GREY_8_BIT = b"\x08\x00"
"""Bytes 24 and 25, bit depth and colour type, of a PNG with one 8-bit channel."""


def decode_stored(content: tf.Tensor) -> tf.Tensor:
    """A JPEG, PNG or BMP as RGB, without turning it.

    Args:
        content: () string, the file.

    Returns:
        (H, W, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: damaged; when the graph runs.
    """
    return tf.cond(
        tf.strings.substr(content, 0, 3) == JPEG_START,
        # Pillow decodes accurately, TensorFlow does not unless it is asked to.
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
    )


def _is_plain(content: tf.Tensor) -> tf.Tensor:
    """Whether a file is a JPEG or PNG, without EXIF that may turn it, and not too large for TensorFlow; () bool.

    EXIF is found in a twentieth of the time of decoding.
    """
    is_png = tf.strings.substr(content, 0, 16) == PNG_START

    def is_plain() -> tf.Tensor:
        mark = tf.where(is_png, "eXIf", "Exif")
        sides = tf.cond(
            is_png,
            lambda: tf.io.decode_raw(tf.strings.substr(content, 16, 8), tf.int32, little_endian=False),
            lambda: tf.image.extract_jpeg_shape(content)[:2],
        )
        pixels = tf.reduce_prod(tf.cast(sides, tf.float64))
        fits = (pixels < _TOO_MANY_PIXELS) & (tf.reduce_max(sides) <= _LONGEST_SIDE)
        return fits & (tf.size(tf.strings.split(content, mark)) == 1)

    return tf.cond(is_png | (tf.strings.substr(content, 0, 3) == JPEG_START), is_plain, lambda: False)


class Decoder:
    """Image and mask values of samples, by index. What TensorFlow cannot decode goes through Pillow.

    Raises:
        DataError: no samples, or one without a mask.
    """

    def __init__(self, samples: Sequence[Sample], classes: ClassSet) -> None:
        if not samples:
            raise DataError("there are no training samples.")
        for sample in samples:
            if sample.label is None:
                raise DataError(f"{sample.image}: has no mask, so it cannot be trained on.")
        self.coding, self.dtype = classes.coding, tf.uint16 if classes.coding == "index" else tf.int32
        self._images, self._labels = ([sample[column] for sample in samples] for column in (1, 2))
        self._read_image, self._read_label = _reader(self._images), _reader(self._labels)

    def __call__(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One sample.

        Args:
            index: () int64.

        Returns:
            image (H, W, 3) uint8 and values (H, W): uint16 in index masks, int32 packed colours in colour masks.

        Raises:
            tf.errors.OpError: a file that cannot be used; `diagnose` says why.
        """
        image, values = self._image(index), self._values(index)
        same_size = tf.reduce_all(tf.shape(image)[:2] == tf.shape(values))
        with tf.control_dependencies([tf.debugging.Assert(same_size, ["mask is not the size of its image"])]):
            return image, tf.identity(values)

    def _image(self, index: tf.Tensor) -> tf.Tensor:
        content = self._read_image(index)
        image = tf.cond(
            _is_plain(content),
            lambda: decode_stored(content),
            lambda: tf.py_function(lambda data, i: image_of(data.numpy(), self._images[i]), [content, index], tf.uint8),
        )
        return tf.ensure_shape(image, (None, None, 3))

    def _values(self, index: tf.Tensor) -> tf.Tensor:
        content = self._read_label(index)

        def by_pillow() -> tf.Tensor:
            def read(data: tf.Tensor, i: tf.Tensor) -> np.ndarray:
                return values_of(data.numpy(), self._labels[i], self.coding).astype(self.dtype.as_numpy_dtype)

            return tf.py_function(read, [content, index], self.dtype)

        if self.coding == "color":
            return tf.ensure_shape(by_pillow(), (None, None))
        # Of palettes, colours, 2 or 16 bits, decode_png would make some grey or other without a word.
        header = tf.strings.substr(content, 0, 16) + tf.strings.substr(content, 24, 2)
        values = tf.cond(
            (header == PNG_START + GREY_8_BIT) & _is_plain(content),
            lambda: tf.cast(tf.io.decode_png(content, channels=1)[..., 0], self.dtype),
            by_pillow,
        )
        return tf.ensure_shape(values, (None, None))


def _reader(sources: Sequence[str | Piece]) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from an index, () int64, to the bytes of that source, () string."""
    if any(isinstance(source, Piece) for source in sources):
        return lambda index: tf.ensure_shape(tf.py_function(lambda i: read_bytes(sources[i]), [index], tf.string), ())
    paths = tf.constant([os.fsencode(source) for source in sources])
    return lambda index: tf.io.read_file(paths[index])
