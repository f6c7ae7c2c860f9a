"""Where the classes of a folder come from: a trained model, settings, class files, or its masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import IGNORED
from acfnet_tf.data.reading import load_sample
from acfnet_tf.importers.folder import open_folder
from tests.importers.user_folder import CONFIG, INDEX_MASK, message, picture, write_pairs

COLOR_MASK = np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8)


def test_given_classes_win(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"])
    (tmp_path / "classes.txt").write_text("x\ny\nz")
    given = open_folder(DataConfig("folder", classes="voc"), str(tmp_path)).classes
    assert given.names[0] == "background"
    assert open_folder(CONFIG, str(tmp_path), given).classes is given
    found = open_folder(CONFIG, str(tmp_path))
    assert found.classes.names == ("x", "y", "z") and found.classes.values[255] == IGNORED
    assert str(tmp_path / "classes.txt") in found.note
    other = tmp_path / "other.yaml"
    other.write_text("[p, q, r, s]")
    assert open_folder(DataConfig("folder", classes=str(other)), str(tmp_path)).classes.names == ("p", "q", "r", "s")
    assert "Did you mean: ade20k" in message(tmp_path, classes="ade20")
    assert "data.masks=color" in message(tmp_path, classes="voc", masks="color")


@pytest.mark.parametrize("bits", [4, 8])
def test_classes_found_in_palette_masks(tmp_path: Path, bits: int) -> None:
    mask = Image.fromarray(np.array([[0, 3], [7, 7]], np.uint8), "P")
    mask.putpalette([255, 255, 255, 0, 0, 0] * 8)
    picture(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks/a.png", bits=bits)
    source = open_folder(DataConfig("folder", ignore=(7,), val_fraction=0), str(tmp_path))
    assert source.classes.names == ("class 0", "class 3") and source.classes.values == {0: 0, 3: 1, 7: IGNORED}
    label = load_sample(source.list_samples("train")[0], source.classes)[1]
    assert label.tolist() == [[0, 1], [255, 255]] and "2 classes" in source.note


@pytest.mark.parametrize("color", [False, True])
def test_black_and_white_masks(tmp_path: Path, color: bool) -> None:
    mask = np.array([[0, 255]], np.uint8)
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], np.stack([mask] * 3, -1) if color else mask)
    source = open_folder(CONFIG, str(tmp_path))
    assert source.classes.names == ("background", "foreground") and IGNORED not in source.classes.values.values()
    assert source.classes.coding == ("color" if color else "index") and "white is not ignored" in source.note


def test_classes_found_in_colour_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], COLOR_MASK)
    classes = open_folder(CONFIG, str(tmp_path)).classes
    assert classes.names == ("#000000", "#ff0000") and classes.colors == ((0, 0, 0), (255, 0, 0))
    assert classes.values == {0: 0, 0xFF0000: 1} and classes.coding == "color"


def test_cvat_export_with_colour_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], COLOR_MASK)
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:255,0,0::\n")
    classes = open_folder(CONFIG, str(tmp_path)).classes
    assert classes.names == ("background", "car") and classes.coding == "color"
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], INDEX_MASK)
    assert open_folder(CONFIG, str(tmp_path)).classes.coding == "index"


def test_class_file_without_colours_for_rgb_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], COLOR_MASK)
    (tmp_path / "classes.txt").write_text("x\ny")
    text = message(tmp_path)
    assert "class 0 ('x'): has no colour" in text and f"{tmp_path}/masks/a.png is RGB" in text and "as grey" not in text
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], np.stack([INDEX_MASK] * 3, -1))
    assert "class numbers that were saved as RGB. Save masks as grey" in message(tmp_path)


def test_masks_without_classes(tmp_path: Path) -> None:
    def said(mask: np.ndarray) -> str:
        write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], mask)
        return message(tmp_path)

    assert "hold only one class" in said(np.array([[3, 255]], np.uint8))
    assert "hold only ignored pixels" in said(np.array([[255]], np.uint8))
    smooth = np.stack(np.meshgrid(np.arange(20), np.arange(20), [9]), -1).reshape(20, 20, 3).astype(np.uint8)
    assert "400 different values" in said(smooth) and "interpolated" in said(smooth)
    assert "saved as RGB" in said(np.stack([INDEX_MASK] * 3, -1))
    for file in (tmp_path / "masks").iterdir():
        file.unlink()
    assert "is missing (1 of 1" in message(tmp_path)


def masks_of(root: Path, *kinds: list[int]) -> None:
    """A pair for each kind: its mask holds just these values."""
    for number, values in enumerate(kinds):
        write_pairs(root / "images", root / "masks", [f"{number}"], np.array([values], np.uint8))


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ([[0, 1], [0, 1], [0, 255], [0]], "0.png holds 0 and 1, {}2.png 0 and 255, and no mask holds 255 beside 1"),
        ([[0, 128], [0, 255]], "0.png holds 0 and 128, {}1.png 0 and 255, and no mask holds 255 beside 128"),
        ([[0, 1], [255, 255]], "0.png holds 0 and 1, {}1.png 255, and no mask holds 255 beside 1"),
        ([[0, 1], [0, 1], *[[255]] * 2], "0.png holds 0 and 1, {}2.png 255, and no mask holds 255 beside 1"),
        (
            [[0, 1, 255], *[[0, 1]] * 3, *[[0, 255]] * 4, [0]],
            "1.png holds 0 and 1, {}4.png 0 and 255, and few masks (1 of 4) hold 255 beside 1",
        ),
        (
            [[0, 2, 3], [0, 1], [0, 255]],
            "holds 0, 2 and 3, {}2.png 0 and 255, and no mask holds 255 beside another class",
        ),
        ([[0, 1], [1, 2], [0]], "0.png holds 0 and 1, {}1.png 1 and 2, and no mask holds 0 beside 2"),
        ([[1, 2, 3], [0, 1, 2, 255]], "1.png holds 0, 1, 2 and 255, {}0.png 1, 2 and 3, and no mask holds 0 beside 3"),
    ],
)
def test_masks_of_two_kinds_are_refused_unless_a_class_file_says_what_is_meant(
    tmp_path: Path, kinds: list[list[int]], says: str
) -> None:
    masks_of(tmp_path, *kinds)
    text = message(tmp_path)
    assert says.format(f"{tmp_path}/masks/") in text and "data.classes=FILE" in text
    (tmp_path / "classes.json").write_text('["a", {"name": "b", "ids": [1, 128, 255]}, "c", "d"]')
    classes = open_folder(CONFIG, str(tmp_path)).classes
    assert classes.values[255] == classes.values[1] == 1


@pytest.mark.parametrize(
    "kinds",
    [
        [[0, 1, 255], [0, 255], [0, 1]],  # ignored along borders
        [[0, 1, 2], [0, 2], [255, 255]],  # an image that is ignored
        [[0, 1], [0, 1], [0], [255]],
        [[0, 1, 255], [0, 1, 255], [0, 1], *[[0, 255]] * 5],  # ignored along borders, of few objects
        [[0, 1], [0, 2], [0, 255, 2]],
        [[0, 1, 2], [1, 2], [0, 1]],
        [[0, 255], [255, 255], [0, 0]],
    ],
)
def test_masks_of_one_kind_are_not_refused(tmp_path: Path, kinds: list[list[int]]) -> None:
    masks_of(tmp_path, *kinds)
    found = {value for kind in kinds for value in kind}
    assert len(open_folder(CONFIG, str(tmp_path)).classes) == len(found if len(found) == 2 else found - {255})


def test_palette_masks_among_colour_masks_are_named(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"], COLOR_MASK)
    write_pairs(tmp_path / "images", tmp_path / "masks", ["b"], INDEX_MASK)
    text = message(tmp_path)
    assert f"{tmp_path}/masks/b.png" in text and "data.masks=index" in text


@pytest.mark.parametrize("place", ["_classes.csv", "train/_classes.csv"])
def test_roboflow_export(tmp_path: Path, place: str) -> None:
    for split in ("train", "valid"):
        for file, pixels in (("a.jpg", None), ("a_mask.png", np.array([[0, 3]], np.uint8))):
            picture(tmp_path / split / file, pixels)
    (tmp_path / place).write_text("Pixel Value, Class\r\n0, background\r\n1, car\r\n3, road\r\n")
    config = DataConfig("folder", image_folder=".", mask_folder=".", mask_suffix="_mask")
    source = open_folder(config, str(tmp_path))
    assert source.classes.names == ("background", "car", "road") and len(source.list_samples("train")) == 1
    assert {value: label for value, label in source.classes.values.items() if label >= 0} == {0: 0, 1: 1, 3: 2}
