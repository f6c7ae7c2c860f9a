"""Where the data come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import list_samples
from acfnet_tf.data.source import open_data

CONFIG = DataConfig(scene_size=(64, 128), scene_train=1, scene_val=1, scene_test=1, scene_seed=3)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_command_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "/from/environment")
    source = open_data(CONFIG, "/from/flag")
    assert source.root == Path("/from/flag") and not source.generated
    assert "/from/flag" in source.description and "--data_dir" in source.description


def test_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "/from/environment")
    for data_dir in (None, ""):
        source = open_data(CONFIG, data_dir)
        assert source.root == Path("/from/environment") and not source.generated
        assert "/from/environment" in source.description and "CITYSCAPES_DATASET" in source.description


def test_home_folder() -> None:
    assert open_data(CONFIG, "~/cityscapes").root == Path.home() / "cityscapes"


def test_else_street_scenes_are_generated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CITYSCAPES_DATASET", "")
    source = open_data(CONFIG, None)
    assert source.generated and source.root.resolve() == tmp_path / "data/street_scenes_64x128_1+1+1_seed3"
    assert "\n" not in source.description
    for words in (str(source.root), "generated street scenes", "--data_dir=DIR", "CITYSCAPES_DATASET"):
        assert words in source.description
    (before,) = list_samples(source.root, "train")
    assert len(list_samples(source.root, "val")) == len(list_samples(source.root, "test")) == 1

    written = Path(before.image).stat().st_mtime_ns
    assert open_data(CONFIG, None) == source
    assert Path(before.image).stat().st_mtime_ns == written
