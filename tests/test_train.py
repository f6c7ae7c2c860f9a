"""Training from the first line to the last file."""

from __future__ import annotations

import contextlib
import csv
import json
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.recipes import experiment_names
from acfnet_tf.train import _check_deterministic, train
from tests.test_base_networks import EXPERIMENTS as OTHER_BASE_NETWORKS
from tests.tiny import no_pictures, shallow_resnet, tiny_experiment

ROWS = [name for name in experiment_names() if not name.endswith("_small") and name not in OTHER_BASE_NETWORKS]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_the_tables_trains_a_step(name, tiny_scenes, tmp_path, capfd):
    experiment = tiny_experiment(name, "train.steps=1", "train.micro_batch=none")
    model_file = train(experiment, tmp_path / "run", str(tiny_scenes))
    outputs = keras.models.load_model(model_file)(np.zeros((1, 40, 50, 3), np.uint8))
    heads = {"fine", "aux"} | ({"coarse"} if experiment.model.class_feature else set())
    assert outputs.keys() == heads
    assert {tuple(logits.shape) for logits in outputs.values()} == {(1, 40, 50, 19)}
    printed = capfd.readouterr().out
    assert "goes through at once" in printed
    assert "mIoU on 2 validation images" in printed
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        training, validation = csv.DictReader(stream)
    assert np.isfinite([float(training[f"loss_{head}"]) for head in heads]).all()
    assert float(training["learning_rate"]) == experiment.train.learning_rate
    assert float(validation["miou_fine"]) >= 0


@shallow_resnet()
@no_pictures()
def test_the_loss_falls(tiny_scenes, tmp_path):
    train(tiny_experiment("acf_aspp", "train.steps=40"), tmp_path, str(tiny_scenes))
    with (tmp_path / "metrics.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream) if row["split"] == "train"]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@shallow_resnet()
@no_pictures()
def test_micro_batches_are_announced_and_train(tiny_scenes, tmp_path, capfd):
    experiment = tiny_experiment("acf_aspp_ob", "train.micro_batch=2", "train.steps=2")
    train(experiment, tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert "in 2 micro-batches of 2, gradients accumulated: BatchNorm statistics are per micro-batch" in printed
    assert "2 steps take about" in printed
    train(tiny_experiment("acf_aspp_ob", "train.micro_batch=none", "train.steps=2"), tmp_path, str(tiny_scenes))
    assert "The run keeps its micro-batch. The batch of 4 goes through in 2 micro-batches" in capfd.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["train"]["micro_batch"] == 2


def test_too_little_memory_is_said_with_the_size(tiny_scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("acfnet_tf.measure.memory._available_bytes", lambda workers: 2**20)
    with pytest.raises(ConfigError, match=r"data.crop_size = 33,49: training needs about .* MiB"):
        train(tiny_experiment("acf_aspp_ob", "train.micro_batch=none"), tmp_path, str(tiny_scenes))


def test_a_file_that_breaks_during_training_is_named(tiny_scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "copy"
    for file in tiny_scenes.rglob("*.png"):
        target = copy / file.relative_to(tiny_scenes)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    victim = sorted((copy / "leftImg8bit" / "train").rglob("*.png"))[3]
    victim.write_bytes(victim.read_bytes()[:500])
    with pytest.raises(UserError, match=victim.name):
        train(tiny_experiment("acf_sum", "train.batch_size=6", "train.micro_batch=6"), tmp_path / "run", str(copy))
    mask = sorted((copy / "gtFine" / "train").rglob("*labelIds.png"))[2]
    victim.write_bytes((tiny_scenes / victim.relative_to(copy)).read_bytes())
    Image.fromarray(np.full((64, 128), 77, np.uint8)).save(mask)
    with pytest.raises(UserError, match=rf"{mask.name}.*77"):
        train(tiny_experiment("acf_sum", "train.batch_size=6", "train.micro_batch=6"), tmp_path / "run", str(copy))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps=0", "train.steps = 0: expected a whole number from 1"),
        ("data.crop_size=0,33", "data.crop_size = 0,33"),
        ("train.micro_batch=3", "train.micro_batch = 3 does not divide the batch of 4 evenly on 1 devices"),
        ("model.num_classes=4", "model.num_classes = 4, but the data have 19 classes"),
        ("model.backbone=resnet7", "no backbone 'resnet7'. Did you mean"),
    ],
)
def test_settings_that_make_no_sense_are_refused(override, message, tiny_scenes, tmp_path):
    settings = ("train.loss.class_weights=cityscapes", override)
    with pytest.raises(UserError, match=message):
        train(tiny_experiment("acf_sum", *settings), tmp_path, str(tiny_scenes))


@pytest.mark.parametrize(
    ("settings", "replicas", "pays", "message"),
    [
        ((), 1, True, None),
        ((), 1, False, None),
        ((), 2, True, None),
        (("train.xla=false",), 1, True, None),
        (("train.xla=true",), 1, True, "XLA has no max pooling for it"),
        ((), 2, False, "leave train.xla out, and install what XLA needs: pip install"),
        (("train.xla=false",), 2, True, "leave train.xla out$"),
    ],
)
def test_determinism_that_a_gpu_has_not_is_refused(settings, replicas, pays, message, monkeypatch):
    monkeypatch.setattr("acfnet_tf.train.pays", lambda: pays)
    workers = mock.Mock()
    workers.strategy.num_replicas_in_sync = replicas
    config = tiny_experiment("acf_sum", "train.deterministic=true", *settings).train
    _check_deterministic(config, workers)  # CPUs have all of it
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["a card"])
    _check_deterministic(tiny_experiment("acf_sum", *settings).train, workers)
    with pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext():
        _check_deterministic(config, workers)
