"""From 2 to 1000 classes: train, evaluate, save, with the ignored label that fits."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.classes import IGNORED
from acfnet_tf.training.run_folder import read_classes
from tests.running import run
from tests.tiny import TINY_SETTINGS


def write_data(root: Path, num_classes: int) -> None:
    """3 images whose masks hold all classes, and values that are ignored."""
    rng = np.random.default_rng(0)
    ignored = 65_535 if num_classes > 254 else 255
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(3):
        values = np.arange(40 * 60).reshape(40, 60) % num_classes
        values[:, :7] = ignored
        Image.fromarray(values.astype(np.uint16 if num_classes > 254 else np.uint8)).save(root / f"masks/{index}.png")
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(root / f"images/{index}.jpg")
    content = {"ignore": [ignored], "classes": [f"class {index}" for index in range(num_classes)]}
    (root / "classes.json").write_text(json.dumps(content))


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_trains_evaluates_and_saves(num_classes: int, tmp_path: Path) -> None:
    write_data(tmp_path / "data", num_classes)
    same = ("--experiment=acf_aspp_ob_small", f"--data_dir={tmp_path / 'data'}", f"--run_dir={tmp_path / 'run'}")
    data = ("data.format=folder", "data.val_fraction=0.34")
    steps = ("train.steps=1", "train.batch_size=2", "train.micro_batch=2")
    run("--mode=train", *same, "--set", *TINY_SETTINGS, *data, *steps)
    run("--mode=evaluate", *same)

    report = json.loads((tmp_path / "run/evaluation.json").read_text())
    counts = np.array(report["heads"]["fine"]["confusion"])
    assert counts.shape == (num_classes, num_classes + 1)
    assert counts.sum() == report["measured"]["images"] * 40 * 53  # the other 7 columns are ignored
    model = keras.models.load_model(tmp_path / "run/model.keras")
    assert model.output["fine"].shape[-1] == num_classes
    classes = read_classes(tmp_path / "run")
    assert len(classes) == num_classes and list(classes.values.values()).count(IGNORED) >= 1
