"""Layouts of users' own folders, and what is said of those that are wrong."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acfnet_tf.config import DataConfig
from acfnet_tf.data.sample import Sample
from acfnet_tf.importers.folder import open_folder
from acfnet_tf.importers.pairs import Pairs
from acfnet_tf.importers.splits import split_by_name
from tests.importers.user_folder import CONFIG, INDEX_MASK, message, names, picture, write_pairs


def test_one_folder_of_each_kind(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", [*map(str, range(40)), "kitchen/17"])
    source = open_folder(CONFIG, str(tmp_path))
    train, val, both = (names(source, split) for split in ("train", "val", "trainval"))
    assert source.splits == ("train", "val", "trainval") and source.cache_dir == tmp_path
    assert sorted(train + val) == both == sorted([*map(str, range(40)), "kitchen/17"])
    assert 0 < len(val) < len(train)
    for sample in source.list_samples("trainval"):
        assert sample.image == str(tmp_path / "images" / f"{sample.name}.jpg")
        assert sample.label == str(tmp_path / "masks" / f"{sample.name}.png")


@given(
    st.sets(st.text(min_size=1, max_size=3), max_size=30), st.sets(st.text(min_size=1, max_size=3)), st.floats(0, 0.9)
)
def test_adding_files_moves_none(first: set[str], added: set[str], fraction: float) -> None:
    def val(samples: set[str]) -> set[str]:
        pairs = Pairs([Sample(name, name, name) for name in sorted(samples)])
        return {sample.name for sample in split_by_name(pairs, fraction, Path("data"))["val"].samples}

    assert val(first) == val(first | added) & first
    shares = {name: int(hashlib.sha1(name.encode()).hexdigest(), 16) / 16**40 for name in first}
    assert val(first) == {name for name, share in shares.items() if share < fraction}


def test_empty_val(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"])
    text = message(tmp_path, "val", val_fraction=0.01)
    assert "none of its 2 images is in val at data.val_fraction=0.01" in text and "Set another" in text
    source = open_folder(DataConfig(format="folder", val_fraction=0.0), str(tmp_path))
    assert names(source, "train") == ["a", "b"] and source.splits == ("train", "trainval")


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}"])
@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Training", "valid"), ("train", "validation")])
def test_folders_of_splits(tmp_path: Path, layout: str, train: str, val: str) -> None:
    for split, found in ((train, ["1", "2"]), (val, ["1", "sub/3"])):
        folders = [tmp_path / layout.format(split=split, kind=kind) for kind in ("images", "masks")]
        write_pairs(*folders, found)
    picture(tmp_path / layout.format(split="test", kind="images") / "9.png")
    source = open_folder(CONFIG, str(tmp_path))
    assert names(source, "train") == ["1", "2"] and names(source, "val") == ["1", "sub/3"]
    assert names(source, "trainval") == ["train/1", "train/2", "val/1", "val/sub/3"]
    assert source.list_samples("test")[0].label is None
    assert set(source.splits) == {"train", "val", "trainval", "test"}
    assert "no split 'extra'. There are: " in message(tmp_path, "extra")


def test_the_split_to_learn_from_needs_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train/images", tmp_path / "train/masks", ["a"])
    picture(tmp_path / "more/images/b.jpg")
    assert "more/masks/b.png is missing (1 of 1" in message(tmp_path, "more", train_split="more")


def test_other_folder_names_and_mask_suffix(tmp_path: Path) -> None:
    picture(tmp_path / "photos/a.b.JPEG")
    picture(tmp_path / "labels/a.b_mask.PNG", INDEX_MASK)
    config = DataConfig("folder", image_folder="photos", mask_folder="labels", mask_suffix="_mask", val_fraction=0)
    (sample,) = open_folder(config, str(tmp_path)).list_samples("train")
    assert sample.name == "a.b" and Path(sample.label).name == "a.b_mask.PNG"


def test_images_and_masks_in_one_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.jpg")
        picture(tmp_path / f"{name}_mask.png", INDEX_MASK)
    config = DataConfig("folder", image_folder=".", mask_folder=".", mask_suffix="_mask", val_fraction=0)
    assert names(open_folder(config, str(tmp_path)), "train") == ["a", "b"]


def test_links_are_followed_and_hidden_files_left_out(tmp_path: Path) -> None:
    write_pairs(tmp_path / "elsewhere/i", tmp_path / "elsewhere/m", ["deep/a"])
    root = tmp_path / "root"
    for kind in ("images", "masks"):
        picture(root / kind / "b.png", INDEX_MASK)
        (root / kind / "linked").symlink_to(tmp_path / "elsewhere" / kind[0], target_is_directory=True)
        for junk in ("._b.png", ".DS_Store", "Thumbs.db", "notes.txt"):
            (root / kind / junk).write_text("x")
        picture(root / kind / ".ipynb_checkpoints/b.png")
    assert names(open_folder(CONFIG, str(root)), "trainval") == ["b", "linked/deep/a"]


def test_missing_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["1", "2", "bridge"])
    (tmp_path / "masks/2.png").unlink()
    text = message(tmp_path)
    assert f"{tmp_path}/images/2.jpg: its mask {tmp_path}/masks/2.png is missing (1 of 3" in text
    assert text == message(tmp_path, "val") == message(tmp_path, "trainval")
    (tmp_path / "masks/bridge.png").rename(tmp_path / "masks/brigde.png")
    picture(tmp_path / "masks/2.png", INDEX_MASK)
    assert f"The nearest name is {tmp_path}/masks/brigde.png." in message(tmp_path)


def test_missing_mask_suffix(tmp_path: Path) -> None:
    for name in ("1", "10"):
        picture(tmp_path / f"images/{name}.jpg")
        picture(tmp_path / f"masks/{name}_mask.png", INDEX_MASK)
    assert f"There is {tmp_path}/masks/1_mask.png: set data.mask_suffix=_mask." in message(tmp_path)
    assert "1_seg.png is missing (2 of 2 images" in message(tmp_path, mask_suffix="_seg")


def test_masks_without_an_image_are_mentioned(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["1", "2"])
    (tmp_path / "images/2.jpg").unlink()
    source = open_folder(CONFIG, str(tmp_path))
    assert f"Masks without an image: 1, such as {tmp_path}/masks/2.png." in source.note
    assert names(source, "trainval") == ["1"]


def test_two_files_of_one_name(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a"])
    picture(tmp_path / "images/a.png")
    assert f"{tmp_path}/images/a.png: has the same name as a.jpg" in message(tmp_path)


def test_images_beside_folders_of_splits(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images/train", tmp_path / "masks/train", ["a"])
    picture(tmp_path / "images/b.jpg")
    assert message(tmp_path).startswith(f"{tmp_path}/images/b.jpg: lies beside")


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    picture(tmp_path / "masks/a.png")
    assert f"{tmp_path}/images: no images in it. Known are .avif" in message(tmp_path)


def test_wrong_roots(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_pairs(root / "images/sub", root / "masks/sub", ["a"])
    assert message(tmp_path).endswith(f"one level too high. Give {root}.")
    for below in ("images", "masks", "images/sub"):
        assert message(root / below).endswith(f"lies inside a data set. Give {root}.")
    assert "no such folder" in message(tmp_path / "nowhere") and "no such file" in message(tmp_path / "nowhere.csv")
    text = message(root, mask_folder="labels")
    assert "neither images and labels in it" in text and "There are the folders: images, masks" in text


@pytest.mark.parametrize(
    ("folder", "data_format"),
    [
        ("leftImg8bit/train", "cityscapes"),
        ("JPEGImages", "voc"),
        ("VOCdevkit/VOC2012", "voc"),
        ("annotations/training", "ade20k"),
    ],
)
def test_other_layouts_are_named(tmp_path: Path, folder: str, data_format: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "images/training").mkdir(parents=True)
    assert f"set data.format={data_format}" in message(tmp_path)


def test_folders_that_cannot_be_read_are_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "locked/b"])
    scandir = os.scandir

    def locked(path: str) -> Iterator[os.DirEntry[str]]:
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert message(tmp_path) == f"{tmp_path}/images/locked: cannot be read (Permission denied)."


def test_how_many_go_where_is_said(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", [f"image{index}" for index in range(20)])
    source = open_folder(CONFIG, str(tmp_path))
    counts = [len(source.list_samples(split)) for split in ("train", "val")]
    assert f"Split by name: {counts[0]} to train, {counts[1]} to val." in source.note


def test_hidden_files_and_link_loops_add_nothing(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["1", "2", ".ipynb_checkpoints/1", "@eaDir/1"])
    picture(tmp_path / "images/._1.jpg")
    for folder in ("images", "masks"):
        (tmp_path / folder / "loop").symlink_to(".")
    assert names(open_folder(CONFIG, str(tmp_path)), "trainval") == ["1", "2"]
