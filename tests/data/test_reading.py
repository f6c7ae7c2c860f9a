"""The Python readers: every kind of picture a user may have, and one clear line for every kind of bad file."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from acfnet_tf import files
from acfnet_tf.data import reading
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet, pack_color
from acfnet_tf.data.reading import read_image, read_values
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.pictures import Picture, decoded_labels, encoded

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
GREY = RGB[..., 0]
MASK = (np.arange(240) % 34).astype(np.uint8).reshape(12, 20)


def read_label(path: Path) -> np.ndarray:
    return reading.read_label(path, CITYSCAPES)


def load_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    return reading.load_sample(sample, CITYSCAPES)


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def message(read: object, path: Path | Sample) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a.{suffix}", RGB))
    assert image.dtype == np.uint8 and image.flags.writeable
    np.testing.assert_array_equal(image, RGB)


def test_lossless_webp_and_a_text_path(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(str(save(tmp_path / "a.webp", RGB, lossless=True))), RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_is_read_nearly(tmp_path: Path, options: dict[str, bool]) -> None:
    smooth = np.kron(RGB[:3, :5], np.ones((8, 8, 1))).astype(np.uint8)
    image = read_image(save(tmp_path / "a.jpg", smooth, quality=95, subsampling=0, **options))
    assert np.abs(image.astype(int) - smooth).max() < 16


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", GREY)), np.repeat(GREY[..., None], 3, -1))


def test_one_bit(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", (GREY > 127)))
    np.testing.assert_array_equal(image, np.repeat((GREY[..., None] > 127) * np.uint8(255), 3, -1))


def test_transparency_is_dropped(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", np.dstack([RGB, GREY]))), RGB)


@pytest.mark.filterwarnings("error")
def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    few = RGB // 128 * 255
    for options in ({}, {"transparency": bytes(range(8))}):
        picture = Image.fromarray(few).quantize(8)
        picture.save(tmp_path / "a.png", **options)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(picture.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    for name in ("a.png", "a.tiff"):
        np.testing.assert_array_equal(read_image(save(tmp_path / name, deep))[..., 1], GREY)


def test_cmyk(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.jpg", RGB, "CMYK")).shape == RGB.shape


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to show
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8] = 255  # above as stored, right as shown
    path = save(tmp_path / f"a.{suffix}", stored, exif=exif)
    shown = read_image(path)
    assert shown.shape == (32, 16, 3) and shown[:, 12:].min() > 200 and shown[:, :4].max() < 50


def test_damaged_exif_is_upright(tmp_path: Path) -> None:
    path, plain = save(tmp_path / "a.jpg", RGB, exif=b"Exif\0\0no TIFF file"), save(tmp_path / "b.jpg", RGB)
    np.testing.assert_array_equal(read_image(path), read_image(plain))


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", GREY.astype(np.float32))
    assert str(path) in message(read_image, path)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_bad_files_are_named(tmp_path: Path, read: object) -> None:
    path = tmp_path / "a.png"
    assert str(path) in message(read, path) and "No such file" in message(read, path)
    path.write_bytes(b"")
    assert str(path) in message(read, path) and "empty" in message(read, path)
    path.write_text("<html>404</html>")
    assert str(path) in message(read, path) and "not an image" in message(read, path)
    assert str(tmp_path) in message(read, tmp_path)


@settings(max_examples=60, deadline=None)
@given(keep=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["PNG", "JPEG", "mask"]))
def test_cut_off_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, keep: float, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(MASK if kind == "mask" else RGB).save(buffer, "PNG" if kind == "mask" else kind)
    whole = buffer.getvalue()
    path = tmp_path_factory.mktemp("cut") / "a.png"
    # The end marker is left out of the promise (12 bytes of a PNG, 2 of a JPEG): without it the picture is still whole.
    path.write_bytes(whole[: int(keep * (len(whole) - 12))])
    assert str(path) in message(read_label if kind == "mask" else read_image, path)


@pytest.mark.parametrize("chunk", [b"IHDR", b"IDAT"])
def test_a_wrong_checksum_is_refused(tmp_path: Path, chunk: bytes) -> None:
    path = save(tmp_path / "a.png", RGB)
    content = bytearray(path.read_bytes())
    start = content.index(chunk)
    (length,) = struct.unpack(">I", content[start - 4 : start])
    assert zlib.crc32(content[start : start + 4 + length]) == struct.unpack_from(">I", content, start + 4 + length)[0]
    content[start + 4 + length] ^= 1
    path.write_bytes(content)
    assert str(path) in message(read_image, path)


def test_masks_become_labels(tmp_path: Path) -> None:
    label = read_label(save(tmp_path / "a.png", MASK))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, CITYSCAPES.table[MASK])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "F"])
def test_masks_that_hold_no_numbers_are_refused(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.tiff", MASK, mode)
    assert str(path) in message(read_label, path) and f"mode {mode}" in message(read_label, path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_numbers_of_any_depth_are_read_as_they_are(tmp_path: Path, bits: int) -> None:
    """A grey PNG of 2 or 4 bits, which Pillow can only write with a palette, is made from one of those."""
    mask = (np.arange(240) % 2**bits).reshape(12, 20).astype(np.uint16 if bits == 16 else np.uint8)
    path = tmp_path / "a.png"
    if bits == 16:
        save(path, mask + 40_000)
        assert read_values(path, "index").dtype == np.uint16
        np.testing.assert_array_equal(read_values(path, "index"), mask + 40_000)
        return
    picture = Image.fromarray(mask, "P")
    picture.putpalette(bytes(768))
    picture.save(path, bits=bits)
    np.testing.assert_array_equal(read_values(path, "index"), mask)
    content = path.read_bytes()
    start = content.index(b"PLTE") - 4
    (length,) = struct.unpack_from(">I", content, start)
    header = content[12:25] + b"\0" + content[26:29]
    path.write_bytes(
        content[:12]
        + header
        + struct.pack(">I", zlib.crc32(header))
        + content[33:start]
        + content[start + 12 + length :]
    )
    assert Image.open(path).mode in ("L", "1")
    np.testing.assert_array_equal(read_values(path, "index"), mask)


def test_color_masks(tmp_path: Path) -> None:
    colors = ((10, 20, 30), (255, 0, 7))
    classes = ClassSet(("a", "b"), colors, {pack_color(color): i for i, color in enumerate(colors)}, "color")
    pick = (np.arange(240) % 2).reshape(12, 20)
    for mode in ("RGB", "RGBA"):
        path = save(tmp_path / "a.png", np.array(colors, np.uint8)[pick], mode)
        np.testing.assert_array_equal(reading.read_label(path, classes), pick)
    text = message(lambda file: reading.read_label(file, classes), save(tmp_path / "b.png", RGB))
    assert str(tmp_path / "b.png") in text and "(10, 20, 30), (255, 0, 7)" in text
    text = message(lambda file: reading.read_label(file, classes), save(tmp_path / "c.png", MASK, "P"))
    assert "mode P" in text and "data.masks=index" in text


def test_masks_that_do_not_keep_values_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", MASK, format="JPEG")
    assert str(path) in message(read_label, path) and "JPEG" in message(read_label, path)


def test_values_that_are_no_label_ids_are_named(tmp_path: Path) -> None:
    mask = MASK.copy()
    mask[0, :2] = 34, 200
    text = message(read_label, save(tmp_path / "a.png", mask))
    assert (
        str(tmp_path / "a.png") in text
        and "34 (1 pixels), 200 (1 pixels)" in text
        and "0–33" in text
        and "trainIds" not in text
    )


def test_train_ids_given_as_label_ids_are_recognised(tmp_path: Path) -> None:
    text = message(read_label, save(tmp_path / "a.png", CITYSCAPES.table[MASK]))
    assert "255" in text and "trainIds" in text


def test_sample_needs_a_mask_of_the_same_size(tmp_path: Path) -> None:
    image, label = save(tmp_path / "a.png", RGB), save(tmp_path / "b.png", MASK)
    pair = load_sample(Sample("a", str(image), str(label)))
    np.testing.assert_array_equal(pair[0], RGB)
    np.testing.assert_array_equal(pair[1], CITYSCAPES.table[MASK])

    save(label, MASK[:10])
    text = message(load_sample, Sample("a", str(image), str(label)))
    assert str(image) in text and str(label) in text and "20×10" in text and "20×12" in text
    assert str(image) in message(load_sample, Sample("a", str(image), None))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_read_error_that_passes_is_not_even_noticed(number: int, tmp_path: Path, monkeypatch) -> None:
    image, read, failures = save(tmp_path / "image.png", RGB), Path.read_bytes, [OSError(number, os.strerror(number))]

    def fail_once(path: Path) -> bytes:
        if failures:
            raise failures.pop()
        return read(path)

    monkeypatch.setattr(files, "PAUSES", (0,))
    monkeypatch.setattr(Path, "read_bytes", fail_once)
    np.testing.assert_array_equal(read_image(image), RGB)
    failures += [OSError(number, os.strerror(number))] * 2
    assert f"cannot read {image}: {os.strerror(number)}" in message(read_image, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_survive_in_a_png(dtype: type) -> None:
    labels = np.arange(6, dtype=dtype).reshape(2, 3) * (np.iinfo(dtype).max // 6)
    decoded = decoded_labels(encoded(labels))
    np.testing.assert_array_equal(decoded, labels)
    assert decoded.dtype == dtype


def test_pixels_outside_of_a_picture_are_told() -> None:
    picture = Picture("a", np.zeros((3, 5, 3), np.uint8))
    assert picture.size == (3, 5)
    picture.check_pixel(4, 2)
    for pixel in ((5, 0), (0, 3), (-1, 0)):
        with pytest.raises(UserError, match=r"outside of a, which is 5×3: x goes from 0 to 4, y from 0 to 2"):
            picture.check_pixel(*pixel)
