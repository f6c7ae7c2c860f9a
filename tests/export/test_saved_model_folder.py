"""The folder of an exported SavedModel: its versions, and what lies in one beside the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.export import saved_model
from acfnet_tf.export.saved_model import publish, write_saved_model
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.paths import folder_beside

Picture = Callable[..., np.ndarray]
Pointwise = Callable[[int], Predictor]


def test_the_version_describes_itself(exported: Path) -> None:
    assert exported.name == "1"
    classes = ClassSet.from_json((exported / "assets" / "classes.json").read_text(encoding="utf-8"))
    assert (classes.names, classes.colors) == (CITYSCAPES.names, CITYSCAPES.colors)
    readme = (exported / "assets.extra" / "README.md").read_text(encoding="utf-8")
    for words in ("# tiny", "`coarse_label_png_bytes` | (B) | string", "100,000 pixels", "| 0 | road | 128, 64, 128 |"):
        assert words in readme


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports everything but the graph, for tests about folders."""
    monkeypatch.setattr(saved_model, "make_signatures", lambda *_: {})
    monkeypatch.setattr(saved_model, "_write_graph", lambda *_: None)


def test_versions_count_up_and_never_meet(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    for name in ("2", "9", "notes"):
        (folder / name).mkdir(parents=True)

    def export() -> str:
        with folder_beside(folder) as version:
            (version / "saved_model.pb").touch()
            return publish(version, folder).name

    assert export() == "10"
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: export(), range(4))) == ["11", "12", "13", "14"]
    assert {path.name for path in folder.iterdir()} == {"2", "9", "notes", "10", "11", "12", "13", "14"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.usefixtures("unwritten")
def test_what_tensorflow_cannot_write_is_one_line(
    tmp_path: Path, make_picture: Picture, monkeypatch: pytest.MonkeyPatch, pointwise: Pointwise
) -> None:
    def fail(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, f"{tmp_path}/.partial-x/m; no space left on device")

    monkeypatch.setattr(saved_model, "_write_warmup", fail)
    with pytest.raises(UserError, match=r"cannot write the SavedModel m: no space left on device$"):
        write_saved_model(pointwise(3), tmp_path, "m", numbered_classes(3), ExportConfig(), [make_picture(4, 4)])


@pytest.mark.parametrize(
    ("change", "classes", "message"),
    [
        ({"coarse": True}, 3, "export.coarse=true: this model has no coarse head"),
        ({}, 4, "has 3 classes, but 4 are named"),
        ({"max_pixels": 10}, 3, "export.max_pixels=10: .* 8×4; set 32 or more"),
    ],
)
def test_what_does_not_fit_is_said(
    change: dict, classes: int, message: str, tmp_path: Path, make_picture: Picture, pointwise: Pointwise
) -> None:
    config = dataclasses.replace(ExportConfig(), **change)
    with pytest.raises(UserError, match=message):
        write_saved_model(pointwise(3), tmp_path / "m", "m", numbered_classes(classes), config, [make_picture(4, 8)])
    assert not (tmp_path / "m").exists()
