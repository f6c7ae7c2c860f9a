"""Encoded images to pixels in TensorFlow operations only: the pixels of `acfnet_tf.data.reading.read_image`.

Part of the exported graph, so that a server needs nothing but TensorFlow to read what clients send.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from acfnet_tf.data.decoding import JPEG_START, decode_stored
from acfnet_tf.data.reading import PNG_START
from acfnet_tf.export import image_header as header
from acfnet_tf.export.image_header import number, starts

_JPEG, _WEBP, _PNG, _BMP, _OTHER = range(5)


def decode_upright(content: tf.Tensor, max_pixels: int, name: tf.Tensor | str = "the image") -> tf.Tensor:
    """One image as RGB, turned as its EXIF orientation says; grey is made RGB, transparency dropped.

    Accepted are JPEG (also grey and CMYK), PNG (of every kind), WebP (not animated; new TensorFlows only) and BMP (24
    or 32 bits, not compressed). GIF is not: TensorFlow decodes all frames at once, as many and as large as they say.

    Args:
        content: () string, the file.
        max_pixels: a larger image is refused before anything is decoded.
        name: () string, what error messages call the image.

    Returns:
        (H, W, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: damaged, of another format, or too large; when the graph runs.
    """
    data = header.padded(tf.io.decode_raw(content, tf.uint8))
    kind = _kind(data)
    height, width = tf.unstack(_stored_size(content, data, kind))
    unknown = tf.strings.join([name, " is no JPEG, PNG, WebP (not animated) or BMP (24 or 32 bits, not compressed)"])
    with tf.control_dependencies([tf.debugging.Assert(kind != _OTHER, [unknown])]):
        fits = assert_fits(height, width, max_pixels, name)
    with tf.control_dependencies([fits]):
        content = tf.identity(content)
    image = tf.cond(
        kind == _WEBP,
        # Of WebP, TensorFlow gives all channels or refuses.
        lambda: tf.io.decode_image(content, channels=0, expand_animations=False)[..., :3],
        lambda: decode_stored(content),
    )
    of_kind = {_JPEG: header.jpeg_exif, _PNG: header.png_exif, _WEBP: header.webp_exif}
    exif = tf.switch_case(
        kind,
        {value: functools.partial(read, data) for value, read in of_kind.items()},
        default=lambda: tf.zeros([0], tf.uint8),
    )
    return header.turn_upright(tf.ensure_shape(image, (None, None, 3)), header.orientation(exif))


def assert_fits(height: tf.Tensor, width: tf.Tensor, max_pixels: int, name: tf.Tensor | str) -> tf.Operation:
    """Fails where an image of this size, () int64 each, is too large."""
    size = tf.strings.format("{}x{}", (width, height))
    message = tf.strings.join([name, " has ", size, f" pixels; more than {max_pixels} in all are not accepted"])
    return tf.debugging.Assert(height * width <= max_pixels, [message])


def _kind(data: tf.Tensor) -> tf.Tensor:
    """The format, () int32."""
    webp = starts(data, 0, b"RIFF") & starts(data, 8, b"WEBP")
    animated = number(data, 20, 1) // 2 % 2 == 1
    still = starts(data, 12, b"VP8 ") | starts(data, 12, b"VP8L") | (starts(data, 12, b"VP8X") & ~animated)
    size, bits, compression = (number(data, at, length, False) for at, length in ((14, 4), (28, 2), (30, 4)))
    plain = (size >= 40) & ((bits == 24) | (bits == 32)) & (compression == 0)
    kind = tf.constant(_OTHER)
    for value, holds in {
        _JPEG: starts(data, 0, JPEG_START),
        _PNG: starts(data, 0, PNG_START),
        _WEBP: webp & still,
        _BMP: starts(data, 0, b"BM") & plain,
    }.items():
        kind = tf.where(holds, value, kind)
    return kind


def _stored_size(content: tf.Tensor, data: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Height and width out of the header, before the image is turned, (2,) int64."""

    def webp() -> tf.Tensor:
        lossy = tf.stack([number(data, at, 2, False) % 2**14 for at in (28, 26)])
        extended = tf.stack([number(data, at, 3, False) + 1 for at in (27, 24)])
        packed = number(data, 21, 4, False)
        lossless = tf.stack([packed // 2**14, packed]) % 2**14 + 1
        return tf.where(starts(data, 12, b"VP8X"), extended, tf.where(starts(data, 12, b"VP8L"), lossless, lossy))

    def bmp() -> tf.Tensor:
        size = tf.stack([number(data, at, 4, False) for at in (22, 18)])
        return tf.minimum(size, 2**32 - size)  # negative heights are of images that are stored from top to bottom

    return tf.switch_case(
        kind,
        {
            _JPEG: lambda: tf.image.extract_jpeg_shape(content, tf.int64)[:2],
            _PNG: lambda: tf.stack([number(data, at, 4) for at in (20, 16)]),
            _WEBP: webp,
            _BMP: bmp,
        },
        default=lambda: tf.zeros([2], tf.int64),
    )
