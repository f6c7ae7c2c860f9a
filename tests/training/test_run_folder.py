"""What a run folder holds besides checkpoints, through what happens to files and data."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf import files
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.recipes import load_experiment
from acfnet_tf.training.run_folder import RunFolder, check_same_run, has_begun, read_classes, read_config
from tests.tiny import tiny_experiment


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
        folder.metrics.add_image(1, "val/l\udcff", np.zeros((2, 3, 3), np.uint8))
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


def test_rows_that_will_come_again_and_one_that_was_cut_off_are_dropped(tmp_path):
    folder = RunFolder(tmp_path, tiny_experiment(), CITYSCAPES)
    step = tf.Variable(0)
    with folder.open():
        folder.restore({"step": step})
        folder.log(1, "train", loss=0.5)
        folder.log(1, "val", miou_fine=0.25)
        step.assign(1)
        folder.save_checkpoint(1)
        folder.log(2, "train", loss=0.4)
    whole = (tmp_path / "metrics.csv").read_bytes()
    with folder.open():
        (tmp_path / "metrics.csv").write_bytes(whole + b"1,val,,,,,,,,0.2,0.9")  # no end of the line
        folder.restore({"step": step})
        assert 1 in folder.metrics.validations()
        folder.log(2, "train", loss=0.4)
    assert (tmp_path / "metrics.csv").read_bytes() == whole


@pytest.mark.parametrize("text", ["step,split\nx,train\n", "a,b\n1,2\n", "step,split\n1,val\n", "step\n\n1,2\n"])
def test_metrics_that_are_not_ours_are_one_line_and_stay(text, tmp_path):
    folder = RunFolder(tmp_path, tiny_experiment(), CITYSCAPES)
    with folder.open():
        (tmp_path / "metrics.csv").write_text(text)
        with pytest.raises(UserError, match=r"metrics\.csv: damaged; move it away"):
            folder.restore({})
    assert (tmp_path / "metrics.csv").read_text() == text


@pytest.mark.parametrize("scores", [[math.nan, 0.2, 0.5, math.nan, 0.4], [0.5, math.nan], [math.nan, math.nan]])
def test_a_validation_that_measured_nothing_is_not_the_best(tmp_path, scores):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    folder, saved = RunFolder(tmp_path, tiny_experiment(), CITYSCAPES), tmp_path / "best.keras"
    with folder.open():
        folder.restore({})
        for step, score in enumerate(scores):
            model.set_weights([np.full((1, 1), score)])
            folder.log_validation(step, {"fine": score}, model)
    if np.isnan(scores).all():
        assert not saved.exists()
    else:
        assert keras.models.load_model(saved).get_weights()[0] == np.nanmax(scores).astype(np.float32)


def test_changed_data_are_said_once_and_recorded(tmp_path):
    folder = RunFolder(tmp_path, tiny_experiment(), CITYSCAPES)
    first = {"train": ["a", "b", "c"], "val": ["v", "w"]}
    assert folder.record_samples(first, step=0) == ""
    assert folder.record_samples(first, step=5) == ""
    assert folder.record_samples({"train": ["a", "b", "c"], "other": ["x"]}, step=6) == ""  # another data.val_split
    assert folder.record_samples(first, step=7) == ""
    changed = {"train": ["0", "a", "c"], "val": ["w"]}
    assert folder.record_samples(changed, step=8).splitlines() == [
        "The split train has changed since: 1 samples more (0) and 1 fewer (b). After step 8, samples come in another "
        "order than before.",
        "The split val has changed since: 1 fewer (v). After step 8, validations are of other images.",
    ]
    assert folder.record_samples(changed, step=9) == ""
    assert "same samples in another order" in folder.record_samples({"train": ["a", "c", "0"]}, step=9)
    many = folder.record_samples({"train": ["a", "c", "0", *"pqrstu"]}, step=9)
    assert "6 samples more (p, q, r, …)" in many
    assert folder.record_samples(first, step=0) == ""  # begins anew
    for foreign in ("[]", '{"train": 3}', '{"train": [1, "a"], "val": null}', '{"train'):
        (tmp_path / "samples.json").write_text(foreign)
        assert folder.record_samples(first, step=5) == ""
        assert json.loads((tmp_path / "samples.json").read_text()) == first
    RunFolder(tmp_path, tiny_experiment(), CITYSCAPES, writes=False).record_samples(changed, step=5)
    assert json.loads((tmp_path / "samples.json").read_text()) == first


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_read_is_not_taken_for_another_one(number, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, tiny_experiment(), CITYSCAPES)
    with folder.open():
        folder.restore({"step": tf.Variable(0)})
        folder.log(1, "val", miou_fine=0.25)
        folder.save_checkpoint(1)
    failures, most = [], 0

    def failing(call):
        def or_fail(path, *arguments, **options):
            if len(failures) < most:
                failures.append(path)
                raise OSError(number, os.strerror(number), str(path))
            return call(path, *arguments, **options)

        return or_fail

    monkeypatch.setattr(files, "PAUSES", (0, 0))
    monkeypatch.setattr(Path, "read_bytes", failing(Path.read_bytes))
    monkeypatch.setattr(os, "listdir", failing(os.listdir))
    for read in (read_config, read_classes, has_begun, lambda _: folder.metrics.validations()):
        before, most = read(tmp_path), 2
        failures.clear()
        assert read(tmp_path) == before  # it passes
        failures.clear()
        most = 3
        with pytest.raises(UserError, match=rf"cannot read {tmp_path}.*{os.strerror(number)}. Nothing was changed"):
            read(tmp_path)
        assert len(failures) == 3
    with pytest.raises(ConfigError, match=r"no run folder: it holds no config\.json"):
        read_config(tmp_path / "checkpoints")


def test_a_run_from_before_precisions_were_named_continues(tmp_path):
    """What it called float32 was TF32 on GPUs, and is the default still."""
    experiment = tiny_experiment()
    with RunFolder(tmp_path, experiment, CITYSCAPES).open():
        file = tmp_path / "config.json"
        content = json.loads(file.read_text())
    content["train"] |= {"precision": "float32", "xla": False}
    del content["train"]["deterministic"], content["evaluation"]["precision"]
    file.write_text(json.dumps(content))
    for precision in ("tf32", "float32"):
        check_same_run(tmp_path, tiny_experiment("acf_aspp_ob", f"train.precision={precision}"))
    check_same_run(tmp_path, tiny_experiment("acf_aspp_ob", "train.deterministic=true"))
    with pytest.raises(ConfigError, match=r"train\.precision was float32, is now mixed_bfloat16"):
        check_same_run(tmp_path, tiny_experiment("acf_aspp_ob", "train.precision=mixed_bfloat16"))
    assert read_config(tmp_path).evaluation.precision == "tf32"
