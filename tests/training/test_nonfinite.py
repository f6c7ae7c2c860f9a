"""A loss that is not finite: named, kept away from the weights, and not the end of the run."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.data import pipeline
from acfnet_tf.data.order import sample_file_index
from acfnet_tf.errors import UserError
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.train import train
from tests.tiny import tiny_experiment

pytestmark = pytest.mark.usefixtures("light")

BAD_SAMPLE = 6
"""The third of the second batch of 4."""


@pytest.fixture
def planted(monkeypatch):
    """One sample has an infinite pixel."""
    augment = pipeline.augment

    def with_infinity(image, label, key, *args, **kwargs):
        image, label = augment(image, label, key, *args, **kwargs)
        return tf.where(key[1] == BAD_SAMPLE, np.float32("inf"), image), label

    monkeypatch.setattr(pipeline, "augment", with_infinity)


def bad_file(scenes) -> str:
    samples = list_samples(scenes, "train")
    return samples[int(sample_file_index(0, BAD_SAMPLE, len(samples)))].image


@pytest.mark.parametrize("micro_batch", [2, 4])
def test_step_head_and_file_are_named_and_the_run_goes_on_from_its_checkpoint(
    planted, micro_batch, tiny_scenes, tmp_path, capfd
):
    settings = ("train.checkpoint_every=1", f"train.micro_batch={micro_batch}")
    with pytest.raises(UserError) as stopped:
        train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes))
    message = str(stopped.value)
    assert message.startswith("step 2: the loss of aux")
    assert f"1 of its 4 images are not finite by themselves: {bad_file(tiny_scenes)}." in message
    assert "train.max_nonfinite_steps=1" in message
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["step_00000001.npz"]
    capfd.readouterr()

    model_file = train(
        tiny_experiment("acf_aspp_ob", *settings, "train.max_nonfinite_steps=1"), tmp_path, str(tiny_scenes)
    )
    printed = capfd.readouterr().out
    assert "continues at step 1 of 4" in printed
    assert "Left out (1 of at most 1)" in printed
    for weight in keras.models.load_model(model_file).weights:
        assert np.isfinite(weight.numpy()).all(), weight.path
    with (tmp_path / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [np.isfinite(float(row["loss"] or "nan")) for row in rows] == [True, False, True, True]


@pytest.mark.parametrize("name", ["acf_aspp", "acf_aspp_ob"])
def test_weights_that_explode_are_no_image_s_fault(name, tiny_scenes, tmp_path):
    settings = ("train.learning_rate=1e20", "train.max_nonfinite_steps=1", "train.checkpoint_every=1", "train.steps=9")
    with pytest.raises(UserError) as stopped:
        train(tiny_experiment(name, *settings), tmp_path, str(tiny_scenes))
    message = str(stopped.value)
    assert "the weights have grown so large" in message
    assert "Lower train.learning_rate" in message
    assert "remove the images" not in message
    assert "max_nonfinite_steps" not in message  # as the next step would have the same weights


def test_no_checkpoint_and_no_model_holds_weights_that_are_not_finite(tiny_scenes, tmp_path):
    """The gradient was finite, and the step's update was not; there is no next step to notice it."""
    settings = ("train.learning_rate=1e38", "train.head_lr_multiplier=1e3", "train.steps=1")
    with pytest.raises(UserError, match=r"after step 1, \d+ of \d+ variables are not finite"):
        train(tiny_experiment("acf_aspp_ob", *settings), tmp_path, str(tiny_scenes))
    assert not list(tmp_path.rglob("*.npz")) + list(tmp_path.rglob("*.keras"))
