"""What is written into and read from a run folder, besides checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acfnet_tf.config import UserError, load_experiment
from acfnet_tf.data.labels.cityscapes import CITYSCAPES
from acfnet_tf.training.run_folder import RunFolder, read_config


def test_a_configuration_that_an_editor_has_saved(tmp_path: Path) -> None:
    experiment = load_experiment("acf_aspp_small")
    text = experiment.to_json().replace("\n", "\r\n")
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_config(tmp_path) == experiment
    (tmp_path / "config.json").write_text(text, encoding="utf-16")
    with pytest.raises(UserError, match=r"config.json: not a text file in UTF-8 \(UTF-16, it seems\)"):
        read_config(tmp_path)


def test_pictures_of_files_whose_names_are_not_utf_8(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run\udcff", load_experiment("acf_aspp_small"), CITYSCAPES)
    with folder.open():
        folder.log_image(1, "val/l\udcff", np.zeros((2, 3, 3), np.uint8))
    (events,) = (tmp_path / "run\udcff/tensorboard").iterdir()
    assert rb"val/l\udcff" in events.read_bytes()


@pytest.mark.parametrize("run_dir", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, run_dir: str) -> None:
    (tmp_path / "file").touch()
    folder = RunFolder(tmp_path / run_dir, load_experiment("acf_aspp_small"), CITYSCAPES)
    says = f"cannot write .*{run_dir}: a file stands where a folder must be"
    with pytest.raises(UserError, match=says), folder.open():
        pytest.fail("it is open")


def test_half_a_model_that_a_killed_process_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".best.keras.0123abcd.17.keras").touch()
    with RunFolder(tmp_path, load_experiment("acf_aspp_small"), CITYSCAPES).open():
        assert not list(tmp_path.glob("*.keras")) and not list(tmp_path.glob(".*.keras"))
