"""Where the data come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.importers.open import open_data

CONFIG = DataConfig(scene_size=(64, 128), scene_train=1, scene_val=1, scene_test=1, scene_seed=3)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_command_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "/from/environment")
    source = open_data(CONFIG, "/from/flag")
    assert "/from/flag" in source.name and source.cache_dir == Path("/from/flag") and not source.note
    assert source.classes == CITYSCAPES


def test_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "/from/environment")
    for data_dir in (None, ""):
        source = open_data(CONFIG, data_dir)
        assert "/from/environment" in source.name and "CITYSCAPES_DATASET" in source.note


def test_home_folder() -> None:
    assert open_data(CONFIG, "~/cityscapes").cache_dir == Path.home() / "cityscapes"


def test_else_street_scenes_are_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "")
    source = open_data(CONFIG, None)
    assert source.name == "generated street scenes data/street_scenes_64x128_1+1+1_seed3"
    for words in ("--data_dir=DIR", "CITYSCAPES_DATASET", "docs/data.md"):
        assert words in source.note
    (before,) = source.list_samples("train")
    assert len(source.list_samples("val")) == len(source.list_samples("test")) == 1

    written = Path(before.image).stat().st_mtime_ns
    open_data(CONFIG, None)
    assert Path(before.image).stat().st_mtime_ns == written


@pytest.mark.parametrize("format", ["folder", "ade20k", "voc", "tfrecord"])
def test_other_formats_want_a_folder(monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "/from/environment")  # is of no meaning to them
    with pytest.raises(DataError, match="--data_dir=DIR"):
        open_data(DataConfig(format=format), None)


def test_home_folders_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "~/cityscapes")
    assert open_data(CONFIG, None).cache_dir == Path.home() / "cityscapes"
    assert open_data(CONFIG, "~nosuchuser/a").cache_dir == Path("~nosuchuser/a")
    assert open_data(CONFIG, ".").cache_dir == Path()


def test_a_split_without_scenes_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "")
    assert open_data(CONFIG, None).splits == ("train", "val", "test")
    assert open_data(dataclasses.replace(CONFIG, scene_test=0), None).splits == ("train", "val")


def test_street_scenes_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(UserError, match="cannot write data: a file stands where a folder must be"):
        open_data(CONFIG, None)
