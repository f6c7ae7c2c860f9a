"""What the headers of encoded images say, and their EXIF orientation above all, read in TensorFlow operations.

A file is (bytes,) uint8 with `PADDING` zeros behind it, so that what lies behind the end of a damaged file reads as 0.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

PADDING = 16
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
_MAX_SEGMENTS = 10_000
"""A file of more has been made to keep a server busy."""


def padded(data: tf.Tensor) -> tf.Tensor:
    """The bytes of a file in the form in which all here is given it."""
    return tf.concat([data, tf.zeros([PADDING], tf.uint8)], axis=0)


def starts(data: tf.Tensor, at: tf.Tensor | int, expected: bytes) -> tf.Tensor:
    """Whether these bytes, `PADDING` at most, stand there; () bool."""
    return tf.reduce_all(_part(data, at, len(expected)) == tf.constant(list(expected), tf.uint8))


def number(data: tf.Tensor, at: tf.Tensor | int, size: int, big_endian: tf.Tensor | bool = True) -> tf.Tensor:
    """The unsigned number of `size` bytes that stands there, () int64."""
    return numbers(_part(data, at, size), big_endian)


def numbers(digits: tf.Tensor, big_endian: tf.Tensor | bool = True) -> tf.Tensor:
    """(…, size) uint8 to unsigned numbers, (…) int64."""
    falling = tf.constant([256**power for power in reversed(range(digits.shape[-1]))], tf.int64)
    weights = tf.where(big_endian, falling, falling[::-1])
    return tf.reduce_sum(tf.cast(digits, tf.int64) * weights, axis=-1)


def _part(data: tf.Tensor, at: tf.Tensor | int, size: int) -> tf.Tensor:
    begin = tf.minimum(tf.cast(at, tf.int64), tf.size(data, tf.int64) - PADDING)
    return tf.ensure_shape(data[begin : begin + size], (size,))


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
    """The EXIF part of a JPEG file, (bytes,) uint8, empty if there is none; of a padded file."""

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
