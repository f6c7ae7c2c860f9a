"""metrics.csv through what happens to files."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.data.labels.cityscapes import CITYSCAPES
from acfnet_tf.training.run_folder import RunFolder
from tests.tiny import tiny_experiment


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
        assert folder.is_validated(1)
        folder.log(2, "train", loss=0.4)
    assert (tmp_path / "metrics.csv").read_bytes() == whole


@pytest.mark.parametrize("scores", [[math.nan, 0.2, 0.5, math.nan, 0.4], [0.5, math.nan], [math.nan, math.nan]])
def test_a_validation_that_measured_nothing_is_not_the_best(tmp_path, scores):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    folder, saved = RunFolder(tmp_path, tiny_experiment(), CITYSCAPES), tmp_path / "best.keras"
    with folder.open():
        folder.restore({})
        for step, score in enumerate(scores):
            model.set_weights([np.full((1, 1), score)])
            folder.log_validation(step, {"miou_fine": score}, model)
    if np.isnan(scores).all():
        assert not saved.exists()
    else:
        assert keras.models.load_model(saved).get_weights()[0] == np.nanmax(scores).astype(np.float32)
