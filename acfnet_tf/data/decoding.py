"""Decodes samples in TensorFlow, for training: the same pixels and values as `reading.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.reading import PNG_START, image_of, values_of
from acfnet_tf.data.sample import Piece, Sample, read_bytes

JPEG_START = b"\xff\xd8\xff"
GREY_8_BIT = b"\x08\x00"
"""Bytes 24 and 25, bit depth and colour type, of a PNG with one 8-bit channel."""


class Decoder:
    """Image and mask values of samples, by index. What TensorFlow cannot decode goes through Pillow.

    Args:
        samples: all with masks.
        classes: of the data.

    Raises:
        DataError: no samples, or one without a mask.
    """

    def __init__(self, samples: Sequence[Sample], classes: ClassSet) -> None:
        if not samples:
            raise DataError("there are no training samples.")
        for sample in samples:
            if sample.label is None:
                raise DataError(f"{sample.image}: has no mask, so it cannot be trained on.")
        self.coding = classes.coding
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
        start = tf.strings.substr(content, 0, 16)
        image = tf.cond(
            (start == PNG_START) | (tf.strings.substr(start, 0, 3) == JPEG_START),
            lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
            lambda: tf.py_function(
                lambda data, i: image_of(data.numpy(), self._images[i], upright=False), [content, index], tf.uint8
            ),
        )
        return tf.ensure_shape(image, (None, None, 3))

    def _values(self, index: tf.Tensor) -> tf.Tensor:
        content = self._read_label(index)
        dtype = tf.uint16 if self.coding == "index" else tf.int32

        def by_pillow() -> tf.Tensor:
            def read(data: tf.Tensor, i: tf.Tensor) -> np.ndarray:
                return values_of(data.numpy(), self._labels[i], self.coding).astype(dtype.as_numpy_dtype)

            return tf.py_function(read, [content, index], dtype)

        if self.coding == "color":
            return tf.ensure_shape(by_pillow(), (None, None))
        # Of others, decode_png would make some grey or other without a word: of palettes, colours, 2 or 16 bits.
        header = tf.strings.substr(content, 0, 16) + tf.strings.substr(content, 24, 2)
        values = tf.cond(
            header == PNG_START + GREY_8_BIT,
            lambda: tf.cast(tf.io.decode_png(content, channels=1)[..., 0], dtype),
            by_pillow,
        )
        return tf.ensure_shape(values, (None, None))


def _reader(sources: Sequence[str | Piece]) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from an index, () int64, to the bytes of that source, () string."""
    if any(isinstance(source, Piece) for source in sources):
        return lambda index: tf.ensure_shape(tf.py_function(lambda i: read_bytes(sources[i]), [index], tf.string), ())
    paths = tf.constant([os.fsencode(source) for source in sources])
    return lambda index: tf.io.read_file(paths[index])
