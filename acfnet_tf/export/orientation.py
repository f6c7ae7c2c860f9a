"""The EXIF orientation of an encoded image, read and undone in TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from acfnet_tf.export.image_header import PADDING, number, numbers, padded, starts

_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
_MAX_SEGMENTS = 10_000
"""A file of more has been made to keep a server busy."""


def orientation(exif: tf.Tensor) -> tf.Tensor:
    """The orientation as `acfnet_tf.data.reading.stored_orientation` reads it; 1, upright, if there is none.

    Args:
        exif: (bytes,) uint8, from one of the functions below; may be empty.

    Returns:
        () int64, 1–8, or nonsense that a camera wrote.
    """
    for _ in range(2):  # some programs write the start of JPEG's segment in other formats too, or twice
        exif = exif[tf.where(starts(padded(exif), 0, _EXIF), len(_EXIF), 0) :]
    header = padded(exif)
    big = starts(header, 0, b"MM\0*")
    table = number(header, 4, 4, big)
    entries = exif[table + 2 : table + 2 + 12 * number(header, table, 2, big)]
    entries = tf.reshape(entries[: tf.size(entries) // 12 * 12], (-1, 12))
    tag, kind, count = (numbers(entries[:, a:b], big) for a, b in ((0, 2), (2, 4), (4, 8)))
    values = tf.where(kind == _SHORT, numbers(entries[:, 8:10], big), numbers(entries[:, 8:12], big))
    known = (big | starts(header, 0, b"II*\0")) & (tag == _ORIENTATION)
    known &= ((kind == _SHORT) | (kind == _LONG)) & (count == 1)
    return tf.concat([values[known], [1]], axis=0)[0]


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(H, W, C) as stored to (H, W, C) or (W, H, C) as it is to be seen."""

    def holds(*values: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(values, tf.int64))

    image = tf.cond(holds(5, 6, 7, 8), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(holds(2, 3, 6, 7), lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(holds(3, 4, 7, 8), lambda: tf.reverse(image, [0]), lambda: image)


def jpeg_exif(data: tf.Tensor) -> tf.Tensor:
    """The EXIF part of a JPEG file, (bytes,) uint8, empty if there is none; the file as in `image_header`."""

    def read(at: tf.Tensor) -> tuple[tf.Tensor, ...]:
        marker, size = number(data, at + 1, 1), number(data, at + 2, 2)
        following = tf.where(marker == 0xFF, at + 1, at + 2 + tf.maximum(size, 2))  # 0xFF may be repeated
        last = ~starts(data, at, b"\xff") | (marker == 0xDA)
        return (marker == 0xE1) & starts(data, at + 4, _EXIF), at + 4, size - 2, following, last

    return _find(data, 2, read)


def png_exif(data: tf.Tensor) -> tf.Tensor:
    """As `jpeg_exif`, of a PNG file."""

    def read(at: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size = number(data, at, 4)
        return starts(data, at + 4, b"eXIf"), at + 8, size, at + 12 + size, starts(data, at + 4, b"IEND")

    return _find(data, 8, read)


def webp_exif(data: tf.Tensor) -> tf.Tensor:
    """As `jpeg_exif`, of a WebP file."""

    def read(at: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size = number(data, at + 4, 4, big_endian=False)
        return starts(data, at, b"EXIF"), at + 8, size, at + 8 + size + size % 2, tf.constant(False)

    return _find(data, 12, read)


def _find(data: tf.Tensor, start: int, read: Callable[[tf.Tensor], tuple[tf.Tensor, ...]]) -> tf.Tensor:
    """Walks over the segments of a file.

    Args:
        data: (bytes,) uint8.
        start: the first segment's position.
        read: position → whether this is the one, where its payload begins, that one's size, the next segment's
            position, whether this is the last one.

    Returns:
        (bytes,) uint8, the payload of the first one found, or empty.
    """
    end = tf.size(data, tf.int64) - PADDING

    def step(at: tf.Tensor, begin: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found, begin, size, following, last = read(at)
        return tf.where(last, end, following), begin, tf.where(found, size, 0)

    zero = tf.constant(0, tf.int64)
    _, begin, size = tf.while_loop(
        lambda at, begin, size: (at < end) & (size <= 0),
        step,
        (tf.constant(start, tf.int64), zero, zero),
        maximum_iterations=_MAX_SEGMENTS,
    )
    return data[begin : begin + size]
