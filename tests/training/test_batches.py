"""Bad files in the middle of a training, and the settings of its data."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from acfnet_tf.cluster import join_workers
from acfnet_tf.config import Experiment
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.errors import DataError
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.models.create import create_model
from acfnet_tf.train import train
from acfnet_tf.training import batches as batches_module
from acfnet_tf.training import loop
from acfnet_tf.training.batches import Batches
from acfnet_tf.training_data.dataset import training_dataset
from tests.tiny import tiny_experiment

pytestmark = pytest.mark.usefixtures("light")


def losses(run_dir: Path) -> list[str]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file) if row["split"] == "train"]


@pytest.fixture
def scenes(tiny_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data whose faults are not found before the first step: only the first sample is looked into."""
    monkeypatch.setattr(loop, "SAMPLES_LOOKED_INTO", 1)
    return Path(shutil.copytree(tiny_scenes, tmp_path / "scenes"))


def skipping() -> Experiment:
    return tiny_experiment("acf_sum", "data.on_bad_file=skip")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_bad_file_stops_the_training_or_is_skipped(kind, scenes, tmp_path, capfd):
    samples = list_samples(scenes, "train")
    bad = Path(getattr(samples[3], kind))
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-40])
    with pytest.raises(DataError, match=bad.name):
        train(tiny_experiment("acf_sum", "train.loss.class_weights=none"), tmp_path / "stopped", str(scenes))

    train(skipping(), tmp_path / "skipped", str(scenes))
    printed = capfd.readouterr()
    assert f"Skipped, number 1, the next sample takes its place: {bad}" in printed.out + printed.err
    assert "Skipped samples: 1." in printed.out + printed.err

    # The same as if the next sample had been there from the beginning.
    for field in ("image", "label"):
        shutil.copy(getattr(samples[4], field), getattr(samples[3], field))
    weights = "train.loss.class_weights=none"
    train(tiny_experiment("acf_sum", weights), tmp_path / "replaced", str(scenes))
    bad.write_bytes(whole[:-40])
    train(tiny_experiment("acf_sum", weights, "data.on_bad_file=skip"), tmp_path / "again", str(scenes))
    assert losses(tmp_path / "again") == losses(tmp_path / "replaced") != []


@pytest.mark.parametrize("times", [2, 3])
def test_a_read_error_that_passes_skips_nothing(times, tiny_scenes, tmp_path, monkeypatch, capfd):
    """The pipeline fails, but all files are good when they are looked at."""
    read, failures = Batches._read, []

    def fail(batches, step):
        if step == 0 and len(failures) < times:
            failures.append(step)
            raise tf.errors.UnknownError(None, None, "scene.png; Stale file handle")
        return read(batches, step)

    monkeypatch.setattr(batches_module, "PAUSES", (0, 0))
    monkeypatch.setattr(Batches, "_read", fail)
    samples = list_samples(tiny_scenes, "train")
    batches = Batches(samples, CITYSCAPES, SampleOrder(6, 0), skipping(), join_workers("one_device"), training_dataset)
    if times == 3:
        with pytest.raises(DataError, match=r"samples are good, but TensorFlow cannot read them \(.*Stale file handle"):
            next(batches(0))
    else:
        assert next(batches(0)).values["index"].shape == (4,)
    assert not batches.bad and "Skipped" not in capfd.readouterr().out


def test_where_all_files_are_bad_nothing_is_skipped(scenes, tmp_path):
    for sample in list_samples(scenes, "train"):
        Path(sample.image).write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        train(skipping(), tmp_path / "run", str(scenes))


def test_cache_distortion_rare_classes_and_weights_together(tiny_scenes, tmp_path):
    """The cache changes nothing; the others do."""
    more = ["data.photometric=true", "data.rare_class_temperature=0.1", "train.loss.class_weights=median_frequency"]
    cache = f"data.cache={tmp_path / 'cache'}"
    for name, settings in (("plain", []), ("more", more), ("cached", [*more, cache])):
        train(tiny_experiment("acf_sum", "train.steps=2", *settings), tmp_path / name, str(tiny_scenes))
    assert losses(tmp_path / "cached") == losses(tmp_path / "more") != losses(tmp_path / "plain")
    assert len(list((tmp_path / "cache").iterdir())) > 1


def test_a_rare_class_need_not_be_in_the_first_samples(tmp_path, monkeypatch):
    """One mask of 12 holds class 1, and it is not among those that are looked into."""
    monkeypatch.setattr(loop, "SAMPLES_LOOKED_INTO", 3)
    write_folder(tmp_path / "data", {5: 1})
    settings = ["data.format=folder", "train.steps=1", "train.batch_size=2", "train.micro_batch=2"]
    assert train(tiny_experiment("acf_sum", *settings), tmp_path / "run", str(tmp_path / "data")).is_file()


def test_a_value_in_no_class_that_is_met_in_training_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAMPLES_LOOKED_INTO", 3)
    write_folder(tmp_path / "data", {5: 7})
    (tmp_path / "data" / "classes.txt").write_text("nothing\nthing")
    settings = ["data.format=folder", "train.steps=8", "train.loss.class_weights=none"]
    with pytest.raises(DataError, match=r"train/masks/05\.png.* 7 \(3072 pixels\)"):
        train(tiny_experiment("acf_sum", *settings), tmp_path / "run", str(tmp_path / "data"))


def write_folder(root: Path, special: dict[int, int]) -> None:
    """12 training and 2 validation pairs whose masks are 0 but for the special ones, which have another value."""
    for split, count in (("train", 12), ("val", 2)):
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((64, 96), np.uint8)
            if split == "train" and index in special:
                mask[:32] = special[index]
            Image.fromarray(mask).save(root / split / f"masks/{index:02d}.png")
            Image.fromarray(np.full((64, 96, 3), 9 * index, np.uint8)).save(root / split / f"images/{index:02d}.png")


def test_padding_is_what_the_model_normalises_to_zero(tiny_scenes: Path) -> None:
    settings = ("data.crop_size=65,129", "data.scale_range=0.5,0.5", "model.pixel_mean=127.5,127,1")
    experiment = tiny_experiment("acf_sum", *settings)
    samples = list_samples(tiny_scenes, "train")
    order = SampleOrder(len(samples), experiment.train.seed)
    batches = Batches(samples, CITYSCAPES, order, experiment, join_workers("one_device"), training_dataset)
    values = next(batches(0)).values
    normalized = create_model(experiment.model).get_layer("normalization")(values["image"]).numpy()
    assert not normalized[:, 32:].any() and not normalized[:, :, 64:].any() and normalized[:, :32, :64].any()
