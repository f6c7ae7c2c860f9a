"""One decoder: training, prediction and exported models see the same pixels, and turn the same pictures."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.decoding import Decoder
from acfnet_tf.data.reading import image_of, read_image, read_values, values_of
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from acfnet_tf.export.image_bytes import decode_upright
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.serving import connection

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8))
PHOTO = np.asarray(NOISE.resize((67, 45), Image.Resampling.BICUBIC))
CLASSES = numbered_classes(4)
IN_GRAPH = ("JPEG", "PNG", "BMP", *(["WEBP"] if hasattr(tf.io, "decode_webp") else []))


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def exported(content: tf.Tensor) -> tf.Tensor:
    return decode_upright(content, 2**24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def trained(folder: Path) -> object:
    """What training reads of a file's bytes: its pixels."""
    files = Sample("a", str(folder / "image"), str(folder / "mask.png"))
    decode = tf.function(Decoder([files], CLASSES), input_signature=[tf.TensorSpec([], tf.int64)])

    def pixels(content: bytes) -> np.ndarray:
        Path(files.image).write_bytes(content)
        with contextlib.suppress(DataError):  # What is damaged fails below, whatever the mask is like.
            Image.new("L", image_of(content, "a").shape[1::-1]).save(files.label)
        return decode(tf.constant(0, tf.int64))[0].numpy()

    return pixels


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def assert_all_see_the_same(content: bytes, trained: object, in_graph: bool = True) -> np.ndarray:
    """In training, prediction, a client's request, and (unless it refuses the format) an exported model."""
    predicted = image_of(content, "image")
    np.testing.assert_array_equal(trained(content), predicted)
    np.testing.assert_array_equal(exported(connection._encode(content)).numpy(), predicted)
    if in_graph:
        np.testing.assert_array_equal(exported(content).numpy(), predicted)
    return predicted


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_chunks(pixels: np.ndarray, bits: int, color_type: int, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A PNG of a kind that Pillow does not write; `before` and `behind` are chunks around the pixels."""
    height, width = pixels.shape[:2]
    if bits == 16:
        rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        digits = np.unpackbits(pixels.astype(np.uint8).reshape(height, -1, 1), axis=-1)[..., 8 - bits :]
        rows = np.packbits(digits.reshape(height, -1), axis=-1)
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    image = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + image + behind + chunk(b"IEND", b"")


@settings(max_examples=50, deadline=None)
@given(
    size=st.tuples(st.integers(1, 67), st.integers(1, 45)),
    mode=st.sampled_from(["RGB", "L", "CMYK", "YCbCr"]),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    restart=st.sampled_from([0, 1, 5]),
)
def test_jpegs(trained, size, mode, quality, subsampling, progressive, restart) -> None:
    image = Image.fromarray(PHOTO).crop((0, 0, *size)).convert(mode)
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    content = encode(image, "JPEG", restart_marker_blocks=restart, **options)
    assert_all_see_the_same(content + b"what a camera wrote behind the picture", trained)


def test_jpegs_that_store_rgb_or_several_pictures(trained) -> None:
    image = Image.fromarray(PHOTO)
    assert_all_see_the_same(encode(image, "JPEG", keep_rgb=True, subsampling=0), trained)
    assert_all_see_the_same(encode(image, "MPO", save_all=True, append_images=[image.rotate(180)]), trained)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("color_type", [0, 2, 3, 4, 6])
def test_pngs(trained, bits: int, color_type: int) -> None:
    if (bits < 8 and color_type in (2, 4, 6)) or (bits, color_type) == (16, 3):
        return  # there are none
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    pixels = RNG.integers(0, 2**bits, (9, 13, channels), np.uint16)
    palette = chunk(b"PLTE", RNG.bytes(3 * 2**bits)) if color_type == 3 else b""
    transparent = {0: b"\0\1", 2: bytes(6), 3: b"\0\x80"}.get(color_type)
    for before in (palette, *([palette + chunk(b"tRNS", transparent)] if transparent else [])):
        gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
        assert_all_see_the_same(png_of_chunks(pixels, bits, color_type, gamma + before), trained)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_what_is_written_about_a_png_is_no_damage(trained, kind: bytes) -> None:
    """Pillow reads a megabyte of it, and takes more for an attack."""
    much = zlib.compress(bytes(3_000_000))
    written = chunk(kind, b"x\0\1\0\0\0" + much if kind == b"iTXt" else b"x\0\0" + much)
    damaged = written[:-1] + bytes([written[-1] ^ 1])
    for content in (written, damaged):
        for place in ("before", "behind"):
            picture = png_of_chunks(PHOTO, 8, 2, **{place: content})
            np.testing.assert_array_equal(assert_all_see_the_same(picture, trained), PHOTO)


@pytest.mark.parametrize("place", ["before", "behind"])
def test_what_is_no_chunk_of_a_png_is_damage_everywhere(trained, place: str) -> None:
    content = png_of_chunks(PHOTO, 8, 2, **{place: chunk(b"\0\1\2\3", b"text")})
    for read in (image_of, lambda content, name: values_of(content, name, "color")):
        with pytest.raises(DataError, match=r"^a\.png: (damaged|not an image)"):
            read(content, "a.png")
    for decode in (trained, exported):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(content)


def test_other_formats(trained) -> None:
    image = Image.fromarray(PHOTO)
    modes = {
        "BMP": "RGB L P 1 RGBA", "GIF": "P L", "WEBP": "RGB RGBA", "TIFF": "RGB L CMYK P LA RGBA 1", "TGA": "RGB L P",
        "PPM": "RGB L 1", "JPEG2000": "RGB L",
    }  # fmt: skip
    in_graph = {("BMP", "RGB"), ("BMP", "RGBA"), ("WEBP", "RGB"), ("WEBP", "RGBA")}
    for format in modes:
        for mode in modes[format].split():
            content = encode(image.convert(mode), format)
            assert_all_see_the_same(content, trained, (format, mode) in in_graph and format in IN_GRAPH)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def as_seen(stored: np.ndarray, orientation: int) -> np.ndarray:
    """By the table of the EXIF standard: at which side of the picture its row 0 and its column 0 are to be seen."""
    turned = stored if orientation not in (5, 6, 7, 8) else np.moveaxis(stored, 0, 1)
    down = {3: True, 4: True, 7: True, 8: True}.get(orientation, False)
    right = {2: True, 3: True, 6: True, 7: True}.get(orientation, False)
    return turned[:: -1 if down else 1, :: -1 if right else 1]


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turns_the_picture_everywhere(trained, tmp_path: Path, format: str, orientation: int) -> None:
    stored = Image.fromarray(PHOTO)
    content = encode(stored, format, exif=exif_of(orientation), **({"lossless": True} if format == "WEBP" else {}))
    seen = assert_all_see_the_same(content, trained, format in IN_GRAPH)
    plain = image_of(encode(stored, format, **({"lossless": True} if format == "WEBP" else {})), "plain")
    np.testing.assert_array_equal(seen, as_seen(plain, orientation))


def test_exif_behind_the_pixels_of_a_png(trained, tmp_path: Path) -> None:
    content = png_of_chunks(PHOTO, 8, 2, behind=chunk(b"eXIf", exif_of(6).removeprefix(b"Exif\0\0")))
    np.testing.assert_array_equal(assert_all_see_the_same(content, trained), as_seen(PHOTO, 6))


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def turned_elsewhere() -> dict[str, bytes]:
    """Pictures that other programs turn for what is written outside of EXIF."""
    image = Image.fromarray(PHOTO)
    raw = exif_of(6).hex().encode()
    return {
        "JPEG": encode(image, "JPEG", xmp=XMP),
        "JPEG with EXIF": encode(image, "JPEG", xmp=XMP, exif=exif_of(1)),
        "WEBP": encode(image, "WEBP", xmp=XMP, lossless=True),
        "TIFF": encode(image, "TIFF", tiffinfo={700: XMP}),
        "PNG XMP": png_of_chunks(PHOTO, 8, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        "PNG raw": png_of_chunks(PHOTO, 8, 2, chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%d\n" % len(raw) + raw)),
        "PNG text": png_of_chunks(PHOTO, 8, 2, chunk(b"tEXt", b"exif\0" + exif_of(6).replace(b"\0", b" "))),
    }


@pytest.mark.parametrize("name", turned_elsewhere())
def test_no_other_orientation_turns_it_anywhere(trained, name: str) -> None:
    seen = assert_all_see_the_same(turned_elsewhere()[name], trained, not name.startswith("TIFF"))
    assert seen.shape == PHOTO.shape and np.abs(seen.astype(int) - PHOTO).mean() < 20


@pytest.mark.parametrize("coding", ["index", "color"])
def test_masks_are_turned_as_their_own_exif_says(tmp_path: Path, coding: str) -> None:
    values = np.arange(6, dtype=np.uint8).reshape(2, 3) % 4
    files = Sample("a", str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    Image.new("RGB", (3, 2)).save(files.image, exif=exif_of(8))
    colors = tuple((value, 0, 0) for value in range(4))
    classes = CLASSES if coding == "index" else ClassSet(CLASSES.names, colors, {v << 16: v for v in range(4)}, "color")
    pixels = values if coding == "index" else np.array(colors, np.uint8)[values]
    Image.fromarray(pixels).save(files.label, exif=exif_of(8))
    expected = as_seen(values.astype(int) << (0 if coding == "index" else 16), 8)
    np.testing.assert_array_equal(read_values(files.label, coding), expected)
    np.testing.assert_array_equal(Decoder([files], classes)(tf.constant(0, tf.int64))[1].numpy(), expected)


def test_pictures_of_any_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit is not ours; for other programs in the same process it stays as it is."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "a.png"
    Image.fromarray(PHOTO[..., 0]).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (45, 67, 3) and read_values(path, "index").shape == (45, 67)
    with pytest.raises(DataError, match=r"67×45 are more than 3,000 pixels \(evaluation.max_pixels\)"):
        read_image(path, max_pixels=3000)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


def test_training_reads_what_is_too_long_for_tensorflow(trained) -> None:
    content = encode(Image.new("1", (1_000_001, 2), 1), "PNG")
    assert (trained(content) == 255).all()


def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise MemoryError

    Image.fromarray(PHOTO).save(tmp_path / "a.bmp")
    monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", fail)
    with pytest.raises(DataError, match="67×45 pixels do not fit into the free memory"):
        read_image(tmp_path / "a.bmp")
