"""A run that was stopped and continued ends like one that was not."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acfnet_tf.config import ConfigError
from acfnet_tf.training.run_folder import RunFolder
from acfnet_tf.training.train import train
from tests.tiny import tiny_experiment


class Stopped(Exception):
    pass


def weights_of(model_file):
    return [weight.numpy() for weight in keras.models.load_model(model_file).weights]


def metrics_of(run_dir):
    """metrics.csv without the measured speed."""
    rows = [line.split(",") for line in (run_dir / "metrics.csv").read_text().splitlines()]
    speed = rows[0].index("images_per_second")
    return [row[:speed] + row[speed + 1 :] for row in rows]


@pytest.fixture
def stop_after(monkeypatch):
    """Ends the next run right after the given step, as if the process had been killed."""
    log = RunFolder.log

    def arrange(last_step: int | None) -> None:
        def log_then_stop(self, step, split, **values):
            log(self, step, split, **values)
            if step == last_step:
                raise Stopped

        monkeypatch.setattr(RunFolder, "log", log_then_stop)

    return arrange


def test_resumed_run_is_bit_identical(tiny_scenes, tmp_path, stop_after):
    experiment = tiny_experiment("acf_aspp_ob", "train.steps=6", "train.checkpoint_every=2")
    whole = train(experiment, tmp_path / "whole", str(tiny_scenes))
    stop_after(3)  # the last checkpoint is of step 2: step 3 is done again
    with pytest.raises(Stopped):
        train(experiment, tmp_path / "stopped", str(tiny_scenes))
    stop_after(None)
    resumed = train(experiment, tmp_path / "stopped", str(tiny_scenes))
    for a, b in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "stopped")


def test_finished_run_is_left_as_it_is(tiny_scenes, tmp_path):
    experiment = tiny_experiment("acf_sum", "train.steps=1")
    before = weights_of(train(experiment, tmp_path, str(tiny_scenes)))
    after = weights_of(train(experiment, tmp_path, str(tiny_scenes)))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_of_another_experiment_is_refused(tiny_scenes, tmp_path):
    train(tiny_experiment("acf_sum", "train.steps=1"), tmp_path, str(tiny_scenes))
    with pytest.raises(ConfigError, match="holds a run of experiment 'acf_sum_small', not of 'acf_concat_small'"):
        train(tiny_experiment("acf_concat", "train.steps=1"), tmp_path, str(tiny_scenes))
    with pytest.raises(ConfigError, match=r"train.learning_rate was 0\.\d+, is now 0\.5"):
        train(tiny_experiment("acf_sum", "train.steps=1", "train.learning_rate=0.5"), tmp_path, str(tiny_scenes))
    train(tiny_experiment("acf_sum", "train.steps=1", "train.log_every=7"), tmp_path, str(tiny_scenes))


def test_a_checkpoint_of_another_model_is_refused(tiny_scenes, tmp_path):
    train(tiny_experiment("acf_sum", "train.steps=1"), tmp_path / "a", str(tiny_scenes))
    other = tiny_experiment("acf_sum", "train.steps=1", "model.channels=4")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "checkpoints").rename(tmp_path / "b" / "checkpoints")
    with pytest.raises(ConfigError, match="is no checkpoint of this model"):
        train(other, tmp_path / "b", str(tiny_scenes))
