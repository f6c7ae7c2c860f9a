"""The Cityscapes tree: what is listed, and what the user is told where the folder is not the right one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from acfnet_tf.config import DataConfig
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.importers.open import open_data


def message(root: Path | str, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        list_samples(root, split)
    text = str(caught.value)
    assert "\n" not in text and isinstance(caught.value, UserError)
    return text


def test_lists_sorted_pairs(cityscapes_root: Path) -> None:
    samples = list_samples(cityscapes_root, "train")
    assert [sample.name for sample in samples] == [f"aachen_{i:06d}_000019" for i in range(4)] + [
        f"zurich_{i:06d}_000019" for i in range(3)
    ]
    assert [sample.image for sample in samples] == sorted(sample.image for sample in samples)
    for sample in samples:
        assert Path(sample.image).is_file() and Path(sample.label).is_file()
        assert Path(sample.image).name == f"{sample.name}_leftImg8bit.png"
        assert Path(sample.label).name == f"{sample.name}_gtFine_labelIds.png"


def test_trainval_is_train_then_val(cityscapes_root: Path) -> None:
    train, val = list_samples(cityscapes_root, "train"), list_samples(str(cityscapes_root), "val")
    assert list_samples(cityscapes_root, "trainval") == train + val


def test_other_files_are_not_listed(cityscapes_root: Path) -> None:
    (cityscapes_root / "leftImg8bit/val/frankfurt/notes.txt").write_text("x")
    (cityscapes_root / "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_color.png").write_text("x")
    assert len(list_samples(cityscapes_root, "val")) == 3


def test_masks_of_the_test_split_are_optional(cityscapes_root: Path) -> None:
    (sample,) = list_samples(cityscapes_root, "test")
    assert Path(sample.label).is_file()
    shutil.rmtree(cityscapes_root / "gtFine")
    (sample,) = list_samples(cityscapes_root, "test")
    assert sample.label is None


def test_no_such_folder(tmp_path: Path) -> None:
    text = message(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in text and "no such folder" in text


def test_one_level_too_high(cityscapes_root: Path) -> None:
    text = message(cityscapes_root.parent)
    assert "one level too high" in text and text.endswith(str(cityscapes_root))


@pytest.mark.parametrize(
    "below", ["leftImg8bit", "leftImg8bit/train", "leftImg8bit/train/aachen", "gtFine", "gtFine/val"]
)
def test_too_low(cityscapes_root: Path, below: str) -> None:
    text = message(cityscapes_root / below)
    assert "lies inside" in text and text.endswith(str(cityscapes_root))


def test_too_low_by_relative_path(cityscapes_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cityscapes_root / "leftImg8bit")
    assert message(".").endswith(str(cityscapes_root))


def test_some_other_folder(tmp_path: Path) -> None:
    text = message(tmp_path)
    assert str(tmp_path) in text and "leftImg8bit" in text


def test_images_without_the_folder_of_masks(cityscapes_root: Path) -> None:
    shutil.rmtree(cityscapes_root / "gtFine")
    text = message(cityscapes_root)
    assert str(cityscapes_root) in text and "gtFine is missing" in text


def test_split_missing(cityscapes_root: Path) -> None:
    shutil.rmtree(cityscapes_root / "leftImg8bit/val")
    assert str(cityscapes_root / "leftImg8bit/val") in message(cityscapes_root, "val")
    assert str(cityscapes_root / "leftImg8bit/val") in message(cityscapes_root, "trainval")


def test_split_empty(cityscapes_root: Path) -> None:
    shutil.rmtree(cityscapes_root / "leftImg8bit/val/frankfurt")
    text = message(cityscapes_root, "val")
    assert str(cityscapes_root / "leftImg8bit/val") in text and "no images" in text


def test_masks_missing_are_named_and_counted(cityscapes_root: Path) -> None:
    samples = list_samples(cityscapes_root, "train")
    for sample in samples[2:4]:
        Path(sample.label).unlink()
    text = message(cityscapes_root)
    assert samples[2].image in text and samples[2].label in text and "2 of 7" in text


def test_unknown_split(cityscapes_root: Path) -> None:
    text = message(cityscapes_root, "validation")
    assert "'validation'" in text and "trainval" in text


def test_the_coarsely_labelled_split(cityscapes_root: Path) -> None:
    image = cityscapes_root / "leftImg8bit/train_extra/bonn/bonn_000000_000000_leftImg8bit.png"
    mask = cityscapes_root / "gtCoarse/train_extra/bonn/bonn_000000_000000_gtCoarse_labelIds.png"
    (first, *_) = list_samples(cityscapes_root, "train")
    image.parent.mkdir(parents=True)
    shutil.copy(first.image, image)
    assert "Unpack gtCoarse.zip" in message(cityscapes_root, "train_extra")
    mask.parent.mkdir(parents=True)
    assert str(mask) in message(cityscapes_root, "train_extra")
    shutil.copy(first.label, mask)
    (sample,) = list_samples(cityscapes_root, "train_extra")
    assert (sample.image, sample.label) == (str(image), str(mask))
    source = open_data(DataConfig(train_split="train_extra"), str(cityscapes_root))
    assert source.splits == ("train", "val", "test", "train_extra")


def test_hidden_files_are_not_listed(cityscapes_root: Path) -> None:
    city = cityscapes_root / "leftImg8bit/val/frankfurt"
    (city / "._frankfurt_000000_000019_leftImg8bit.png").touch()
    shutil.copytree(city, city.with_name(".ipynb_checkpoints"))
    (city.parent / "loop").symlink_to(".")
    assert len(list_samples(cityscapes_root, "val")) == 3
