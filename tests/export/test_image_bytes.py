"""Images decoded in the graph: the pixels of `read_image` for all that is accepted, one clear line for the rest."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from acfnet_tf.data.reading import image_of
from acfnet_tf.export.image_bytes import decode_upright

NOISE = np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)
PHOTO = np.asarray(Image.fromarray(NOISE).resize((70, 45), Image.Resampling.BICUBIC))
RGBA = np.dstack([PHOTO, PHOTO[..., 0]])
DEEP = np.random.default_rng(1).integers(0, 2**16, (9, 13), np.uint16)
FORMATS = ["JPEG", "PNG", *(["WEBP"] if hasattr(tf.io, "decode_webp") else [])]
COUNT, TYPE, LONG = 1, 3, 4


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode(content: tf.Tensor) -> tf.Tensor:
    return decode_upright(content, 10_000, "image 3")


def encode(pixels: np.ndarray, format: str, mode: str | None = None, **options: object) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def assert_read_as_by_pillow(content: bytes) -> None:
    np.testing.assert_array_equal(decode(content).numpy(), image_of(content, "image"))


def refusal(content: bytes) -> str:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode(content)
    return caught.value.message


def palette_png() -> bytes:
    image, file = Image.fromarray(PHOTO).quantize(16), io.BytesIO()
    image.save(file, "PNG", transparency=bytes([0, 100, 255, 7] * 4))
    return file.getvalue()


def deep_rgb_png() -> bytes:
    """16 bits a channel, which Pillow reads but does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.dstack([DEEP, DEEP[::-1], DEEP]))
    header = struct.pack(">IIBBBBB", *DEEP.shape[::-1], 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png(mode: str) -> None:
    assert_read_as_by_pillow(encode(NOISE, "PNG", mode))


def test_png_of_16_bits_and_with_a_transparent_palette() -> None:
    for content in (encode(DEEP, "PNG"), deep_rgb_png(), palette_png()):
        assert_read_as_by_pillow(content)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 30}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_to_the_last_bit(mode: str, options: dict) -> None:
    assert_read_as_by_pillow(encode(PHOTO, "JPEG", mode, **options))


@pytest.mark.skipif("WEBP" not in FORMATS, reason="this TensorFlow does not read WebP")
def test_webp() -> None:
    for pixels in (PHOTO, RGBA):
        for options in ({}, {"lossless": True}, {"quality": 5}):
            assert_read_as_by_pillow(encode(pixels, "WEBP", **options))


def test_bmp_from_either_side() -> None:
    content = encode(NOISE, "BMP")
    for bottom_up in (content, encode(NOISE, "BMP", "RGBA")):
        assert_read_as_by_pillow(bottom_up)
    assert_read_as_by_pillow(content[:22] + struct.pack("<i", -NOISE.shape[0]) + content[26:])


def exif(order: str, entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """A TIFF header and a table of (tag, type, count, value as 4 bytes)."""
    table = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IH", 8, len(entries)) + table + bytes(4)


def orientation_entry(order: str, value: int, type: int = TYPE) -> tuple[int, int, int, bytes]:
    return 0x0112, type, COUNT, struct.pack(f"{order}{'HH' if type == TYPE else 'I'}", *([value, 0][: 5 - type]))


@given(
    st.sampled_from(FORMATS),
    st.sampled_from("<>"),
    st.integers(0, 9),
    st.sampled_from([TYPE, LONG]),
    st.lists(st.integers(0x0113, 0x0130), max_size=3),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_exif_orientation(format: str, order: str, value: int, type: int, others: list[int], twice: bool) -> None:
    entries = [(tag, TYPE, 1, bytes([0, 6, 0, 6])) for tag in others] + [orientation_entry(order, value, type)]
    start = b"Exif\0\0" * (1 + twice)
    assert_read_as_by_pillow(encode(NOISE, format, exif=start + exif(order, entries)))


@given(st.sampled_from(FORMATS), st.sampled_from("<>"), st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_exif_is_no_exif(format: str, order: str, data: st.DataObject) -> None:
    whole = exif(order, [orientation_entry(order, 6)])
    cut = whole[: data.draw(st.integers(0, len(whole) - 5))]
    np.testing.assert_array_equal(decode(encode(NOISE, "PNG", exif=b"Exif\0\0" + cut)), NOISE)
    place, value = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = whole[:place] + bytes([value]) + whole[place + 1 :]
    assert sorted(decode(encode(NOISE, format, exif=b"Exif\0\0" + changed)).shape) == sorted(NOISE.shape)


def test_exif_behind_other_segments() -> None:
    content = encode(PHOTO, "JPEG", exif=b"Exif\0\0" + exif("<", [orientation_entry("<", 6)]))
    start = content.index(b"\xff\xe1")
    xmp = b"\xff\xe1\x00\x20http://ns.adobe.com/xap/1.0/\0 "
    for before in (xmp, xmp + b"\xff\xff"):
        assert_read_as_by_pillow(content[:start] + before + content[start:])
    png = encode(NOISE, "PNG", exif=b"Exif\0\0" + exif(">", [orientation_entry(">", 8)]))
    start, end = png.index(b"eXIf") - 4, png.index(b"IDAT") - 4
    assert_read_as_by_pillow(png[:start] + png[end:-12] + png[start:end] + png[-12:])


def enlarged(content: bytes, place: int, layout: str, *sizes: int) -> bytes:
    new = struct.pack(layout, *sizes)
    return content[:place] + new + content[place + len(new) :]


def test_too_large_images_are_refused_by_their_header() -> None:
    assert "image 3 has 101x100 pixels; more than 10000 in all" in refusal(
        encode(np.zeros((100, 101, 3), np.uint8), "PNG")
    )
    assert decode(encode(np.zeros((100, 100, 3), np.uint8), "PNG")).shape == (100, 100, 3)
    jpeg, side = encode(NOISE, "JPEG"), 60_000
    lies = [
        enlarged(encode(NOISE, "PNG"), 16, ">II", side, side),
        enlarged(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", side, side),
        enlarged(encode(NOISE, "BMP"), 18, "<ii", side, -side),
    ]
    for lie in lies:
        assert f"{side}x{side}" in refusal(lie)
    webp = encode(NOISE, "WEBP", exif=b"Exif\0\0" + exif("<", []))
    assert "16384x10" in refusal(enlarged(webp, 24, "<HBHB", 16383, 0, 9, 0))
    assert "16383x900" in refusal(enlarged(encode(NOISE, "WEBP"), 26, "<HH", 16383, 900))
    assert "16384x9" in refusal(enlarged(encode(NOISE, "WEBP", lossless=True), 21, "<I", 16383 | 8 << 14))


def test_other_formats_are_refused() -> None:
    animation = io.BytesIO()
    frames = [Image.fromarray(pixels) for pixels in (NOISE, NOISE[::-1])]
    frames[0].save(animation, "WEBP", save_all=True, append_images=frames[1:])
    contents = [b"", b"text", b"\x89PNG\r\n\x1a\n", animation.getvalue()]
    contents += [encode(NOISE, "GIF"), encode(NOISE, "TIFF"), encode(NOISE, "BMP", "P")]
    for content in contents:
        assert "image 3 is no JPEG, PNG, WebP" in refusal(content)


@pytest.mark.parametrize("format", [*FORMATS, "BMP"])
def test_damaged_files_are_refused(format: str) -> None:
    content = encode(NOISE, format)
    for size in (2, 16, 20, 30, len(content) // 2, len(content) - 30):
        refusal(content[:size])
