"""The report holds Table 3 and everything the numbers depend on, and is valid JSON where classes are absent."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import EvaluationConfig
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.report import describe_inference, write_report
from acfnet_tf.metrics.confusion import ConfusionMatrix

NAMES = ("road", "car", "train")


@pytest.fixture
def report(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "wide.png")
    Image.new("RGB", (5, 10)).save(tmp_path / "tall.png")
    samples = [Sample(n, str(tmp_path / f"{n}.png"), None) for n in ("wide", "tall", "wide")]
    fine, coarse = ConfusionMatrix(3), ConfusionMatrix(3)
    fine.update(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 1, 0]], np.uint8))
    coarse.update(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8))

    def write(matrices):
        return write_report(
            tmp_path / "runs" / "acf_aspp",
            matrices,
            model="model.keras, run by tensorflow",
            initialization="resnet101.pth (sha256 0123456789ab)",
            class_names=NAMES,
            evaluation=EvaluationConfig(flip=True),
            samples=samples,
            split="val",
            data="Cityscapes in /data/cityscapes",
        )

    return tmp_path / "runs" / "acf_aspp", write, {"fine": fine, "coarse": coarse}


def test_markdown(report):
    folder, write, matrices = report
    text = write(matrices)
    assert text == (folder / "evaluation.md").read_text(encoding="utf-8")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "# Evaluation of acf_aspp"
    assert "| class | coarse | fine |" in lines
    assert "| road | 50.0 | 66.7 |" in lines
    assert "| train | – | – |" in lines
    assert "| **mIoU** | **25.00** | **58.33** |" in lines
    assert "| pixel accuracy | 50.00 | 75.00 |" in lines
    assert "| head | road | car | train | mIoU |" in lines
    assert "| fine | 66.7 | 50.0 | – | 58.33 |" in lines
    for fact in (
        "Model: model.keras, run by tensorflow",
        "Initialised from: resnet101.pth (sha256 0123456789ab)",
        "Data: Cityscapes in /data/cityscapes, split val, 3 images",
        "10×20 (2), 10×5 (1); batch size 1",
        "whole image, one scale (1.0), with left-right flip",
        "tensorflow 2",
        "keras 3",
    ):
        assert fact in text


def test_json(report):
    folder, write, matrices = report
    write(matrices)
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    fine = content["heads"]["fine"]
    assert fine["iou"] == {"road": 2 / 3, "car": 0.5, "train": None}
    assert fine["mean_iou"] == matrices["fine"].mean_iou()
    assert fine["pixel_accuracy"] == 0.75
    assert fine["confusion"] == matrices["fine"].counts.tolist()
    assert content["measured"]["image_sizes"] == {"10×20": 2, "10×5": 1}
    assert content["measured"]["batch_size"] == 1
    assert content["measured"]["images"] == 3


def test_replaces_the_older_report_and_leaves_nothing_else(report):
    folder, write, matrices = report
    write(matrices)
    write({"fine": matrices["fine"]})
    assert sorted(file.name for file in folder.iterdir()) == ["evaluation.json", "evaluation.md"]
    assert "coarse" not in (folder / "evaluation.md").read_text(encoding="utf-8")


def test_inference_in_words():
    assert describe_inference(EvaluationConfig()) == "whole image, one scale (1.0), no left-right flip"
    evaluation = EvaluationConfig(mode="sliding", window=(769, 700), multi_scale=True, scales=(0.75, 1.0))
    expected = "sliding window 769×700 with 33% overlap, scales 0.75, 1.0, no left-right flip"
    assert describe_inference(evaluation) == expected
