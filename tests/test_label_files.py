"""Prediction on a user's own files: mixed formats and sizes, damaged files, names that collide."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.errors import UserError
from acfnet_tf.label_files import predict_files
from acfnet_tf.visualization.palette import colorize, overlay

COLORS = CITYSCAPES.colors


def red_halves(image: np.ndarray) -> np.ndarray:
    """Stands in for a predictor: class 0 or 1 by the red channel."""
    return (image[..., 0] > 127).astype(np.uint8)


def save(file, height=4, width=6, mode="RGB") -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(file)
    return pixels


def predict(input, output):
    return predict_files(red_halves, input, output, COLORS, progress=False)


def names(folder) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_one_file(tmp_path):
    pixels = save(tmp_path / "photo.png")
    written = predict(tmp_path / "photo.png", tmp_path / "out")
    assert written == [tmp_path / "out" / "photo.png"]
    assert names(tmp_path / "out") == ["photo.png", "photo_color.png", "photo_overlay.png"]
    index = Image.open(tmp_path / "out" / "photo.png")
    assert index.mode == "L"
    np.testing.assert_array_equal(np.asarray(index), red_halves(pixels))
    color = np.asarray(Image.open(tmp_path / "out" / "photo_color.png"))
    np.testing.assert_array_equal(color, colorize(red_halves(pixels), COLORS))
    blended = np.asarray(Image.open(tmp_path / "out" / "photo_overlay.png"))
    np.testing.assert_array_equal(blended, overlay(pixels, red_halves(pixels), COLORS))


def test_folder_of_mixed_sizes_and_formats_keeps_its_tree(tmp_path):
    folder = tmp_path / "in"
    save(folder / "a.jpg", 3, 5)
    save(folder / "b.PNG", 7, 2)
    save(folder / "sub" / "a.bmp", 1, 1)
    save(folder / "gray.tif", mode="L")
    (folder / "notes.txt").write_text("no image")
    written = predict(folder, tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in written] == [
        "a.png",
        "b.png",
        "gray.png",
        "sub/a.png",
    ]
    assert len(names(tmp_path / "out")) == 12
    assert Image.open(tmp_path / "out" / "b.png").size == (2, 7)


def test_damaged_files_do_not_stop_the_others_and_are_named(tmp_path):
    folder = tmp_path / "in"
    save(folder / "good.png")
    (folder / "empty.jpg").touch()
    save(folder / "cut.png", 50, 50)
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:200])
    save(folder / "later.png")
    with pytest.raises(UserError, match="2 of 4") as error:
        predict(folder, tmp_path / "out")
    assert "empty.jpg" in str(error.value)
    assert "cut.png" in str(error.value)
    assert {"good.png", "later.png"} <= set(names(tmp_path / "out"))
    assert len(names(tmp_path / "out")) == 6


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_small_file_of_a_gigantic_image_is_refused_before_it_is_decoded(tmp_path):
    save(tmp_path / "in" / "good.png", 4, 6)
    for side in (10_000, 60_000):  # Pillow itself refuses only the second
        file = tmp_path / "in" / f"bomb{side}.png"
        save(file)
        content = bytearray(file.read_bytes())
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        file.write_bytes(content)
    with pytest.raises(UserError, match="2 of 3 images could not be read") as error:
        predict_files(red_halves, tmp_path / "in", tmp_path / "out", COLORS, max_pixels=24, progress=False)
    assert "10000×10000 are more than 24 pixels (evaluation.max_pixels)" in str(error.value)
    assert "good.png" in names(tmp_path / "out")


@pytest.mark.parametrize("pair", [("a.jpg", "a.png"), ("a.png", "a_color.png"), ("a_overlay.jpg", "a.jpg")])
def test_colliding_names_do_not_clobber_one_another(tmp_path, pair):
    for number, name in enumerate(pair):
        save(tmp_path / "in" / name, 3 + number, 5)
    written = predict(tmp_path / "in", tmp_path / "out")
    assert len(names(tmp_path / "out")) == 6
    assert {file.name: Image.open(file).height for file in written} == {
        f"{name}.png": 3 + number for number, name in enumerate(pair)
    }


def test_output_inside_the_input_is_not_read_again(tmp_path):
    save(tmp_path / "in" / "a.png")
    for _ in range(2):
        predict(tmp_path / "in", tmp_path / "in" / "out")
    assert names(tmp_path / "in") == ["a.png", "out/a.png", "out/a_color.png", "out/a_overlay.png"]


def test_errors(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        predict(tmp_path / "missing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        predict(tmp_path / "empty", tmp_path / "out")
    save(tmp_path / "in" / "a.png")
    before = (tmp_path / "in" / "a.png").read_bytes()
    for input in (tmp_path / "in", tmp_path / "in" / "a.png"):
        with pytest.raises(UserError, match="own folder"):
            predict(input, tmp_path / "in")
    assert (tmp_path / "in" / "a.png").read_bytes() == before


def test_names_that_are_too_long_or_not_utf_8(tmp_path):
    """Of an image whose name leaves no room for "_overlay.png" nothing is written; the others are done."""
    odd = os.fsdecode(b"l\xff")
    for name in ("a", odd, "m" * 247, "n" * 251, "z"):
        (tmp_path / "in").mkdir(exist_ok=True)
        content = io.BytesIO()
        Image.new("RGB", (3, 2)).save(content, "PNG")
        (tmp_path / "in" / f"{name}.png").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="2 of 5 images failed; the others are done") as error:
        predict(tmp_path / "in", tmp_path / "out")
    assert len(str(error.value).splitlines()) == 3 and str(error.value).count("File name too long") == 2
    endings = (".png", "_color.png", "_overlay.png")
    assert names(tmp_path / "out") == sorted(name + ending for name in ("a", odd, "z") for ending in endings)


def test_an_image_whose_files_cannot_be_written_does_not_stop_the_others(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        save(tmp_path / "in" / f"{name}.png")
    replace = os.replace

    def full(source, target):
        if target.name == "b_color.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"1 of 3 images failed.*\n.*cannot write .*/b_color.png: No space left"):
        predict(tmp_path / "in", tmp_path / "out")
    assert {name[0] for name in names(tmp_path / "out") if name.endswith("color.png")} == {"a", "c"}
    assert "b.png" not in names(tmp_path / "out") and not any(name[0] == "." for name in names(tmp_path / "out"))


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path):
    save(tmp_path / "in" / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*/file: a file stands where a folder must be"):
        predict_files(pytest.fail, tmp_path / "in", tmp_path / "file" / "out", COLORS, progress=False)


def test_an_output_above_the_input(tmp_path):
    save(tmp_path / "in" / "a.png")
    assert predict(tmp_path / "in", tmp_path) == [tmp_path / "a.png"]
    save(tmp_path / "in" / "in" / "a.png")
    with pytest.raises(UserError, match=r"in/a.png would be overwritten by labels"):
        predict(tmp_path / "in", tmp_path)
