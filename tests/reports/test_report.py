"""The report holds Table 3 and everything the numbers depend on, and is valid JSON where classes are absent."""

from __future__ import annotations

import json

import numpy as np
import pytest

from acfnet_tf.config import EvaluationConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.reports.boundary import near_boundaries
from acfnet_tf.reports.comparison import compare
from acfnet_tf.reports.report import Report, describe_inference, write_report

CLASSES = ClassSet(("road", "car", "train"), default_colors(3), {0: 0, 1: 1, 2: 2})
TRUTH = np.array([[0, 0, 1, 1]], np.uint8)
PREDICTIONS = {"fine": np.array([[0, 0, 1, 0]], np.uint8), "coarse": np.zeros((1, 4), np.uint8)}


def evaluated(*heads: str, widths: tuple[int, ...] = (1, 3)) -> Evaluation:
    """Three images: one with everything, one all ignored, one that is right."""
    evaluation = Evaluation(heads, CLASSES, 3, near_boundaries(widths))
    evaluation.count(0, TRUTH, {head: PREDICTIONS[head] for head in heads})
    evaluation.count(1, np.full((2, 2), 255, np.uint8), dict.fromkeys(heads, np.zeros((2, 2), np.uint8)))
    evaluation.count(2, np.zeros_like(TRUTH), dict.fromkeys(heads, np.zeros_like(TRUTH)))
    return evaluation


@pytest.fixture
def report(tmp_path):
    """The run folder, and what writes a report into it."""
    samples = [Sample(name, str(tmp_path / f"{name}.png"), None) for name in ("wide", "tall", "wide")]

    def write(evaluation: Evaluation, comparison: dict | None = None, **more: object) -> Report:
        return write_report(
            tmp_path / "runs" / "acf_aspp",
            evaluation,
            model="model.keras, run by tensorflow",
            initialization="resnet101.pth (sha256 0123456789ab)",
            class_names=CLASSES.names,
            inference=EvaluationConfig(flip=True),
            precision="float32",
            samples=samples,
            split="val",
            data="Cityscapes in /data/cityscapes",
            comparison=comparison,
            **more,
        )

    return tmp_path / "runs" / "acf_aspp", write


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_markdown(report):
    folder, write = report
    text = write(evaluated("fine", "coarse")).text
    assert text == (folder / "evaluation.md").read_text(encoding="utf-8")
    lines = squeezed(text)
    assert lines[0] == "# Evaluation of acf_aspp"
    assert "| class | coarse | fine |" in lines
    assert "| road | 75.0 | 85.7 |" in lines
    assert "| train | – | – |" in lines
    assert "| **mIoU** | **37.50** | **67.86** |" in lines
    assert "| pixel accuracy | 75.00 | 87.50 |" in lines
    assert "| head | road | car | train | mIoU |" in lines
    assert "| fine | 85.7 | 50.0 | – | 67.86 |" in lines
    assert "| within | Boundary IoU, coarse | Boundary IoU, fine | trimap IoU, coarse | trimap IoU, fine |" in lines
    assert "| 1 px | 0.00 | 75.00 | 25.00 | 100.00 |" in lines
    for fact in (
        "Model: model.keras, run by tensorflow",
        "Initialised from: resnet101.pth (sha256 0123456789ab)",
        "Data: Cityscapes in /data/cityscapes, split val, 3 images",
        "1×4 (2), 2×2 (1); batch size 1",
        "whole image, one scale (1.0), with left-right flip. Precision: float32.",
        "tensorflow 2",
        "keras 3",
        "Boundary IoU (Cheng et al., 2021)",
    ):
        assert fact in text


def test_json(report):
    folder, write = report
    evaluation = evaluated("fine", "coarse")
    written = write(evaluation).content
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content == written
    assert content["classes"] == list(CLASSES.names)
    assert list(content["heads"]) == ["coarse", "fine"]
    fine = content["heads"]["fine"]
    assert fine["iou"] == {"road": 6 / 7, "car": 0.5, "train": None}
    assert fine["mean_iou"] == evaluation.matrices["fine"].mean_iou()
    assert fine["pixel_accuracy"] == 7 / 8
    assert fine["confusion"] == evaluation.matrices["fine"].counts.tolist()
    assert list(fine["boundary"]) == ["1", "3"]
    assert fine["boundary"]["1"] == {
        "boundary_iou": 0.75,
        "trimap_iou": 1.0,
        "classes": {
            "road": {"boundary_iou": 0.5, "trimap_iou": 1.0},
            "car": {"boundary_iou": 1.0, "trimap_iou": 1.0},
            "train": {"boundary_iou": None, "trimap_iou": None},
        },
    }
    assert [image["name"] for image in content["images"]] == ["wide", "tall", "wide"]
    assert content["images"][0]["fine"] == {"mean_iou": pytest.approx((2 / 3 + 1 / 2) / 2), "pixel_accuracy": 0.75}
    assert content["images"][1]["coarse"] == {"mean_iou": None, "pixel_accuracy": None}
    assert content["measured"]["image_sizes"] == {"1×4": 2, "2×2": 1}
    assert content["measured"]["batch_size"] == 1
    assert content["measured"]["images"] == 3
    assert "comparison" not in content


def test_comparison(report):
    _, write = report
    own = evaluated("fine", "coarse")
    other = evaluated("fine")
    other.count(0, TRUTH, {"fine": PREDICTIONS["coarse"]})  # a wrong one in place of the first
    other.images["fine"][0, 0, 1:], other.images["fine"][0, 1, 1] = (2, 4), 2
    content = compare("baseline", other, own, CLASSES.names)
    text, written = write(own, content)
    assert written["comparison"] == content
    lines = squeezed(text)
    assert "## Compared with baseline" in lines
    assert "| fine | baseline | acf_aspp | difference | 95% interval |" in lines
    row = content["heads"]["fine"]["mean_iou"]
    assert row["difference"] > 0
    start = f"| mIoU | {100 * row['first']:.2f} | 67.86 | +{100 * row['difference']:.2f} |"
    assert any(line.startswith(start) for line in lines)
    assert "| train | – | – | – | – |" in lines
    assert "paired bootstrap over images, 10,000 resamples" in " ".join(lines)


def test_without_widths_nothing_is_said_of_boundaries(report):
    _, write = report
    text, content = write(evaluated("fine", widths=()))
    assert "oundar" not in text
    assert content["heads"]["fine"]["boundary"] == {}


def test_replaces_the_older_report_and_leaves_nothing_else(report):
    folder, write = report
    write(evaluated("fine", "coarse"))
    write(evaluated("fine"))
    assert sorted(file.name for file in folder.iterdir()) == ["evaluation.json", "evaluation.md"]
    assert "coarse" not in (folder / "evaluation.md").read_text(encoding="utf-8")


def test_inference_in_words():
    assert describe_inference(EvaluationConfig()) == "whole image, one scale (1.0), no left-right flip"
    evaluation = EvaluationConfig(mode="sliding", window=(769, 700), multi_scale=True, scales=(0.75, 1.0))
    expected = "sliding window 769×700 with 33% overlap, scales 0.75, 1.0, no left-right flip"
    assert describe_inference(evaluation) == expected


def test_the_text_is_shown_before_anything_is_written(report, tmp_path):
    """Whoever cannot write into the folder has the numbers at least."""
    folder, write = report
    folder.parent.mkdir()
    folder.touch()
    shown = []
    with pytest.raises(UserError, match=r"cannot write .*acf_aspp: a file stands where a folder must be"):
        write(evaluated("fine"), name="a|b", show=shown.append)
    (text,) = shown
    assert text.startswith("# Evaluation of a\\|b\n") and "| **mIoU** | **67.86** |" in squeezed(text)
