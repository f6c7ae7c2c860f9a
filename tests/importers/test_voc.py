"""The layout of PASCAL VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.reading import load_sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers.colors import voc_colors
from acfnet_tf.importers.voc import open_voc

CONFIG = DataConfig(format="voc")
LISTS = "ImageSets/Segmentation"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """5 images: 2 of train, 1 of val, 1 with a mask of SBD, 1 of test; another that is in no list."""
    root = tmp_path / "VOCdevkit/VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", LISTS):
        (root / folder).mkdir(parents=True)
    for name in ("2007_1", "2007_2", "2008_3", "2009_4", "2010_5", "2011_6"):
        Image.new("RGB", (3, 1)).save(root / f"JPEGImages/{name}.jpg")
    mask = Image.fromarray(np.array([[0, 20, 255]], np.uint8), "P")
    mask.putpalette([channel for color in voc_colors(256) for channel in color])
    for name in ("2007_1", "2007_2", "2008_3"):
        mask.save(root / f"SegmentationClass/{name}.png")
    for name in ("2007_1", "2007_2", "2009_4"):
        Image.fromarray(np.array([[1, 1, 255]], np.uint8)).save(root / f"SegmentationClassAug/{name}.png")
    for split, names in (("train", "2007_2\n2007_1\n"), ("val", "2008_3 \n\n"), ("test", "2010_5")):
        (root / LISTS / f"{split}.txt").write_text(names)
    return root


@pytest.mark.parametrize("level", ["VOCdevkit/VOC2012", "VOCdevkit", "."])
def test_lists_pairs(root: Path, tmp_path: Path, level: str) -> None:
    source = open_voc(CONFIG, str(tmp_path / level))
    names = {split: [sample.name for sample in source.list_samples(split)] for split in source.splits}
    train, val = ["2007_1", "2007_2"], ["2008_3"]
    assert names == {"train": train, "val": val, "trainval": train + val, "test": ["2010_5"]}
    assert source.list_samples("test")[0].label is None and source.name == f"PASCAL VOC layout {root}"


def test_classes_are_the_indices_of_the_palette(root: Path) -> None:
    source = open_voc(CONFIG, str(root))
    assert load_sample(source.list_samples("train")[0], source.classes)[1].tolist() == [[0, 20, 255]]
    assert len(source.classes) == 21
    assert (source.classes.names[0], source.classes.names[20]) == ("background", "tvmonitor")
    assert source.classes.colors[20] == (0, 64, 128)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("train_aug.txt", "{}"),
        ("trainaug.txt", "{}"),
        ("train_aug.txt", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"),
    ],
)
def test_masks_of_sbd(root: Path, file: str, line: str) -> None:
    (root / LISTS / file).write_text("\n".join(line.format(name) for name in ("2009_4", "2007_1")))
    source = open_voc(DataConfig(format="voc", train_split="train_aug"), str(root))
    samples = source.list_samples("train_aug")
    assert [sample.name for sample in samples] == ["2007_1", "2009_4"]
    assert load_sample(samples[1], source.classes)[1].tolist() == [[1, 1, 255]]


def test_the_list_of_trainval_is_used(root: Path) -> None:
    (root / LISTS / "trainval.txt").write_text("2007_1")
    assert len(open_voc(CONFIG, str(root)).list_samples("trainval")) == 1


def test_a_class_file_names_other_classes(root: Path) -> None:
    (root / "labelmap.txt").write_text("background:0,0,0::\ncar:128,0,0::\n")
    assert open_voc(CONFIG, str(root)).classes.names == ("background", "car")


def test_wrong_folders(root: Path, tmp_path: Path) -> None:
    (root / "SegmentationClass/2007_2.png").unlink()
    source = open_voc(CONFIG, str(root))
    with pytest.raises(
        DataError, match=r"2007_2\.jpg: its mask .*SegmentationClass/2007_2\.png is missing \(1 of 2 images in train"
    ):
        source.list_samples("train")
    (root / "JPEGImages/2008_3.jpg").unlink()
    with pytest.raises(DataError, match=r"val\.txt: 2008_3 is not in JPEGImages"):
        open_voc(CONFIG, str(root)).list_samples("val")
    (root / LISTS / "val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"val\.txt: empty"):
        open_voc(CONFIG, str(root)).list_samples("val")
    with pytest.raises(DataError, match=r"no split 'train_aug'\. There are: test, train, val, trainval"):
        source.list_samples("train_aug")
    with pytest.raises(DataError, match="no folder ImageSets/Segmentation in it"):
        open_voc(CONFIG, str(root / "JPEGImages"))


def test_no_lists(root: Path) -> None:
    for file in (root / "ImageSets/Segmentation").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"Segmentation: no lists of images.*train\.txt"):
        open_voc(CONFIG, str(root))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_any_system(root: Path, mark: str, end: str) -> None:
    (root / LISTS / "train.txt").write_bytes(f"{mark}2007_1{end}2007_2{end}".encode())
    assert [sample.name for sample in open_voc(CONFIG, str(root)).list_samples("train")] == ["2007_1", "2007_2"]


def test_a_list_in_another_encoding_is_named(root: Path) -> None:
    (root / LISTS / "train.txt").write_text("2007_1", encoding="utf-16")
    with pytest.raises(DataError, match=r"train.txt: not a text file in UTF-8 \(UTF-16, it seems\)"):
        open_voc(CONFIG, str(root))
