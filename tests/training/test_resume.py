"""A run that was stopped and continued, in whatever way, ends like one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from acfnet_tf.errors import ConfigError, Stopped
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.train import train
from acfnet_tf.training.run_folder import RunFolder
from tests.tiny import tiny_experiment
from tests.training.replica_worker import send_signal, signal_after

pytestmark = pytest.mark.usefixtures("light")

WHOLE = tiny_experiment(
    "acf_aspp_ob", "train.steps=6", "train.checkpoint_every=2", "train.validate_every=3", "train.ema_momentum=0.9"
)


class Killed(Exception):
    pass


def weights_of(model_file):
    return [weight.numpy() for weight in keras.models.load_model(model_file).weights]


def metrics_of(run_dir):
    """metrics.csv without the measured speed."""
    rows = [line.split(",") for line in (run_dir / "metrics.csv").read_text().splitlines()]
    speed = rows[0].index("images_per_second")
    return [row[:speed] + row[speed + 1 :] for row in rows]


def checkpoints_of(run_dir):
    return sorted(file.name for file in (run_dir / "checkpoints").iterdir())


def assert_same_run(run_dir, whole):
    """To the bit: the final checkpoint, with momenta and averages, the models, the metrics."""
    assert checkpoints_of(run_dir) == checkpoints_of(whole)
    final = Path("checkpoints", "step_00000006.npz")
    with np.load(run_dir / final) as arrays, np.load(whole / final) as expected:
        assert arrays.files == expected.files
        for name in expected.files:
            assert arrays[name].tobytes() == expected[name].tobytes(), name
    for model in ("model.keras", "best.keras"):
        for a, b in zip(weights_of(run_dir / model), weights_of(whole / model), strict=True):
            np.testing.assert_array_equal(a, b)
    assert metrics_of(run_dir) == metrics_of(whole)


@pytest.fixture(scope="module")
def whole(tiny_scenes, tmp_path_factory):
    """The folder of `WHOLE`, undisturbed."""
    run_dir = tmp_path_factory.mktemp("whole")
    train(WHOLE, run_dir, str(tiny_scenes))
    return run_dir


@pytest.fixture(scope="module")
def killed(tiny_scenes, tmp_path_factory):
    """The folder of `WHOLE`, ended in step 5 as if by a kill: it has checkpoints of steps 2, 3 and 4."""
    run_dir = tmp_path_factory.mktemp("killed")
    log = RunFolder.log

    def log_then_end(self, step, split, **values):
        log(self, step, split, **values)
        if step == 5:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "log", log_then_end)
        with pytest.raises(Killed):
            train(WHOLE, run_dir, str(tiny_scenes))
    return run_dir


def test_a_killed_run_loses_the_steps_since_its_last_checkpoint_only(whole, killed, tiny_scenes, tmp_path, capfd):
    assert checkpoints_of(killed) == ["step_00000002.npz", "step_00000003.npz", "step_00000004.npz"]
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    train(WHOLE, tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert "continues at step 4 of 6" in printed
    assert "has changed" not in printed
    assert_same_run(tmp_path, whole)


def test_a_run_that_continues_on_other_data_says_so(killed, tiny_scenes, tmp_path, capfd):
    run_dir, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(killed, run_dir)
    shutil.copytree(tiny_scenes, data)
    for file in [*data.glob("leftImg8bit/train/*/*_000001_*"), *data.glob("gtFine/train/*/*_000001_*")]:
        shutil.copy(file, file.with_name(file.name.replace("_000001_", "_000077_")))
    train(WHOLE, run_dir, str(data))
    line = "The split train has changed since: 1 samples more (streetville_000077_000019). After step 4, samples come"
    assert line in capfd.readouterr().out
    assert json.loads((run_dir / "samples.json").read_text())["train"][-1] == "streetville_000077_000019"


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(whole, killed, tiny_scenes, tmp_path, capfd):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "step_00000004.npz"
    os.truncate(newest, newest.stat().st_size // 2)
    train(WHOLE, tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert f"Checkpoint {newest} is damaged (cut short or changed" in printed
    assert "it is now step_00000004.npz.damaged; continuing from the one before" in printed
    assert "continues at step 3 of 6" in printed
    newest.with_name("step_00000004.npz.damaged").unlink()
    assert_same_run(tmp_path, whole)


def test_sigterm_leaves_a_checkpoint_of_the_step_that_was_running(whole, tiny_scenes, tmp_path, capfd):
    with signal_after(5), pytest.raises(Stopped, match="SIGTERM: stopped after step 5") as stopped:
        train(WHOLE, tmp_path, str(tiny_scenes))
    assert stopped.value.status == 143
    assert checkpoints_of(tmp_path)[-1] == "step_00000005.npz"
    train(WHOLE, tmp_path, str(tiny_scenes))
    assert "continues at step 5 of 6" in capfd.readouterr().out
    # The checkpoint that it wrote when it was told to end is one of the newest three.
    (tmp_path / "checkpoints" / "step_00000005.npz").unlink()
    shutil.copy(whole / "checkpoints" / "step_00000003.npz", tmp_path / "checkpoints")
    assert_same_run(tmp_path, whole)


def test_a_validation_that_sigterm_cuts_short_is_done_by_the_next_run(whole, tiny_scenes, tmp_path, monkeypatch):
    labels, validated_at = Predictor.labels, []

    def label_then_signal(self, image):
        validated_at.append(len(metrics_of(tmp_path)) - 1)
        if len(validated_at) == 1:
            send_signal(signal.SIGTERM)
        return labels(self, image)

    monkeypatch.setattr(Predictor, "labels", label_then_signal)
    with pytest.raises(Stopped, match="SIGTERM: stopped after step 3") as stopped:
        train(WHOLE, tmp_path, str(tiny_scenes))
    assert stopped.value.status == 143
    assert validated_at == [3], "it went on to the next image"
    assert checkpoints_of(tmp_path)[-1] == "step_00000003.npz"
    assert [row[:2] for row in metrics_of(tmp_path)[1:]] == [["1", "train"], ["2", "train"], ["3", "train"]]
    train(WHOLE, tmp_path, str(tiny_scenes))
    assert validated_at[1] == 3, "it trained before it validated"
    assert_same_run(tmp_path, whole)


def test_the_checkpoint_of_the_best_validation_is_kept(tiny_scenes, tmp_path, monkeypatch):
    scores = {1: 0.2, 2: 0.4}  # step 2 is the best
    monkeypatch.setattr(ConfusionMatrix, "mean_iou", lambda _: scores.get(len(metrics_of(tmp_path)) // 2, 0.1))
    experiment = tiny_experiment("acf_sum", "train.steps=8", "train.checkpoint_every=1", "train.validate_every=1")
    with signal_after(6), pytest.raises(Stopped):
        train(experiment, tmp_path, str(tiny_scenes))
    train(experiment, tmp_path, str(tiny_scenes))  # which has not seen the best one
    assert checkpoints_of(tmp_path) == [f"step_{step:08d}.npz" for step in (2, 6, 7, 8)]
    best = {weight.path: weight.numpy() for weight in keras.models.load_model(tmp_path / "best.keras").weights}
    with np.load(tmp_path / "checkpoints" / "step_00000002.npz") as arrays:
        for path, weight in best.items():
            np.testing.assert_array_equal(weight, arrays[path])


def test_finished_run_is_left_as_it_is(whole, tiny_scenes, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    train(WHOLE, tmp_path, str(tiny_scenes))
    assert_same_run(tmp_path, whole)


def test_a_folder_of_another_experiment_is_refused(tiny_scenes, tmp_path):
    train(tiny_experiment("acf_sum", "train.steps=1"), tmp_path, str(tiny_scenes))
    with pytest.raises(ConfigError, match="holds a run of experiment 'acf_sum_small', not of 'acf_concat_small'"):
        train(tiny_experiment("acf_concat", "train.steps=1"), tmp_path, str(tiny_scenes))
    with pytest.raises(ConfigError, match=r"train.learning_rate was 0\.\d+, is now 0\.5"):
        train(tiny_experiment("acf_sum", "train.steps=1", "train.learning_rate=0.5"), tmp_path, str(tiny_scenes))
    train(tiny_experiment("acf_sum", "train.steps=1", "train.log_every=7"), tmp_path, str(tiny_scenes))


def test_a_checkpoint_of_another_model_is_refused(killed, tiny_scenes, tmp_path):
    shutil.copytree(killed / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(ConfigError, match="is no checkpoint of this model"):
        train(tiny_experiment("acf_aspp_ob", "model.channels=4"), tmp_path, str(tiny_scenes))
