"""Every IoU equals what the official Cityscapes evaluation says, to the last bit, on generated scenes."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES, LABEL_IDS
from acfnet_tf.data.reading import read_label
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.reports.submission import write_submission
from acfnet_tf.scenes.street_scenes import write_street_scenes

official = pytest.importorskip(
    "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
    reason="the referee is missing: pip install --no-deps cityscapesscripts, as `make install` does",
)


@pytest.fixture
def referee(monkeypatch):
    """(prediction files, truth files) → the official result."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # the script predates NumPy 2.4, which lacks it

    def run(predictions: list[str], truths: list[str]) -> dict:
        args = copy.copy(official.args)
        args.JSONOutput, args.quiet = False, True
        return official.evaluateImgLists(predictions, truths, args)

    return run


@pytest.fixture
def scenes(tmp_path) -> list[Sample]:
    write_street_scenes(tmp_path / "scenes", train=1, val=3, test=1, size=(96, 192), seed=5)
    return list_samples(tmp_path / "scenes", "val")


def corrupted(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """LabelIds like the truth, with wrong classes, void among the predictions, and classes on ignored pixels."""
    values = np.where(truth == 255, 0, LABEL_IDS[np.minimum(truth, 18)])
    noise = rng.random(truth.shape)
    values = np.where(noise < 0.3, rng.choice(LABEL_IDS, truth.shape), values)
    return np.where(noise > 0.95, rng.integers(0, 34, truth.shape), values).astype(np.uint8)


def replace_label(sample: Sample, old: str, new_id: int) -> None:
    label = np.array(Image.open(sample.label))
    label[label == LABEL_IDS[CITYSCAPES.names.index(old)]] = new_id
    Image.fromarray(label).save(sample.label)


def assert_equal(matrix: ConfusionMatrix, result: dict) -> None:
    expected = [result["classScores"][name] for name in CITYSCAPES.names]
    np.testing.assert_array_equal(matrix.iou(), expected)
    assert matrix.mean_iou() == result["averageScoreClasses"]


def test_corrupted_truth_with_absent_classes(scenes, referee, tmp_path):
    rng = np.random.default_rng(0)
    matrix = ConfusionMatrix(19)
    files = []
    for sample in scenes:
        replace_label(sample, "bus", 0)  # absent, never predicted on valid pixels
        replace_label(sample, "train", 4)  # absent, but predicted
        truth = read_label(sample.label, CITYSCAPES)
        prediction = corrupted(truth, rng)
        prediction[(prediction == LABEL_IDS[CITYSCAPES.names.index("bus")]) & (truth != 255)] = 7
        files.append(str(tmp_path / f"{sample.name}_prediction.png"))
        Image.fromarray(prediction).save(files[-1])
        matrix.update(truth, CITYSCAPES.table[prediction])
    result = referee(files, [sample.label for sample in scenes])
    assert_equal(matrix, result)
    assert math.isnan(matrix.iou()[CITYSCAPES.names.index("bus")])
    assert matrix.iou()[CITYSCAPES.names.index("train")] == 0
    assert 0.2 < matrix.mean_iou() < 0.9


def test_evaluate_equals_the_official_result_on_the_submission_files(scenes, referee, tmp_path):
    images = keras.Input((None, None, 3))
    kernels = np.random.default_rng(3).normal(size=(2, 1, 1, 3, 19))
    layers = [keras.layers.Conv2D(19, 1, use_bias=False) for _ in kernels]
    model = keras.Model(images, {head: layer(images) for head, layer in zip(("fine", "coarse"), layers, strict=True)})
    for layer, kernel in zip(layers, kernels, strict=True):
        layer.set_weights([kernel])
    for head in ("fine", "coarse"):
        predictor = Predictor(model, head=head)
        matrix = evaluate(predictor, scenes, CITYSCAPES, progress=False).matrices[head]
        write_submission(predictor, scenes, tmp_path / head, archive=False, progress=False)
        args = copy.copy(official.args)
        args.predictionPath, args.predictionWalk = str(tmp_path / head), None
        truths = [sample.label for sample in scenes]
        files = [official.getPrediction(args, truth) for truth in truths]
        assert [Path(file).name for file in files] == [f"{sample.name}_labelIds.png" for sample in scenes]
        assert_equal(matrix, referee(files, truths))
        assert matrix.mean_iou() > 0
