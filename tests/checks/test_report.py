"""The report of a check: short for people, complete for programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acfnet_tf.checks.check import CheckResult, SplitCounts
from acfnet_tf.checks.finding import Finding
from acfnet_tf.checks.report import write_check_report
from acfnet_tf.checks.values import UnknownValue
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource
from acfnet_tf.importers.colors import default_colors

FILES = tuple(f"masks/größe {number}.png" for number in range(25))
FINDINGS = (
    Finding("error", "size_mismatch", "25 masks of another size than the image.", FILES),
    Finding("warning", "absent_classes", "1 of 3 classes never in a training mask."),
)


def make_result(num_classes: int = 3, findings: tuple[Finding, ...] = FINDINGS, coding: str = "index") -> CheckResult:
    names = tuple(f"class {index}" for index in range(num_classes))
    values = dict(zip(range(num_classes), range(num_classes), strict=True))
    classes = ClassSet(names, default_colors(num_classes), values, coding)
    pixels = np.zeros((2, num_classes), np.int64)
    pixels[:, :2] = [[90, 10], [100, 0]]
    train = SplitCounts(2, 2, {(20, 10): 2}, {"JPEG RGB": 2}, {"PNG P": 2}, pixels, ignored=300, unknown=500)
    unknown = (UnknownValue(0x0A0B0C, 500, FILES[:2]),)
    return CheckResult(DataSource("folder x", classes, list, ("train",)), {"train": train}, findings, unknown)


def test_errors_come_first_and_long_lists_are_cut(tmp_path: Path) -> None:
    text = write_check_report(make_result(), tmp_path)
    assert text == (tmp_path / "check.md").read_text(encoding="utf-8")
    places = [
        text.index(part)
        for part in ("1 error, 1 warning", "## Errors", FILES[9], "15 more", "## Warnings", "## Splits")
    ]
    assert places == sorted(places)
    assert FILES[10] not in text


def test_json_is_complete(tmp_path: Path) -> None:
    write_check_report(make_result(), tmp_path, {"enet": np.float64([1, 2.00001, 3])})
    content = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert (content["data"], content["errors"], content["warnings"]) == ("folder x", 1, 1)
    assert content["findings"][0] == {
        "severity": "error",
        "kind": "size_mismatch",
        "message": FINDINGS[0].message,
        "details": list(FILES),
    }
    assert content["unknown_values"] == [{"value": 0x0A0B0C, "pixels": 500, "files": list(FILES[:2])}]
    assert content["class_weights"] == {"enet": [1, 2, 3]}
    assert content["splits"]["train"] == {
        "images": 2,
        "masks": 2,
        "image_sizes": [{"width": 20, "height": 10, "images": 2}],
        "image_kinds": {"JPEG RGB": 2},
        "mask_kinds": {"PNG P": 2},
        "class_pixels": [190, 10, 0],
        "class_masks": [2, 1, 0],
        "ignored_pixels": 300,
        "unknown_pixels": 500,
    }


def test_colours_are_written_as_colours(tmp_path: Path) -> None:
    write_check_report(make_result(coding="color"), tmp_path)
    assert json.loads((tmp_path / "check.json").read_text())["unknown_values"][0]["value"] == [10, 11, 12]


def test_the_tables(tmp_path: Path) -> None:
    lines = write_check_report(make_result(), tmp_path, {"enet": [0.5, 1, 1.5]}).splitlines()
    assert "| train |      2 |     2 |  30.0 % |      50.0 % |" in lines
    assert "| class 0 |       95.0 % |           2 | 0.5000 |" in lines
    assert "| class 2 |            – |           0 | 1.5000 |" in lines
    assert "--set train.loss.class_weights=0.5,1,1.5" in lines


def test_of_many_classes_the_rarest_are_shown(tmp_path: Path) -> None:
    text = write_check_report(make_result(150), tmp_path)
    assert (
        "| class 42" not in text and "| class 0 " not in text and "| class 41 " in text and "40 rarest of 150" in text
    )
    assert len(json.loads((tmp_path / "check.json").read_text())["splits"]["train"]["class_pixels"]) == 150


@pytest.mark.parametrize("splits", [True, False])
def test_nothing_found_and_nothing_listed(tmp_path: Path, splits: bool) -> None:
    result = make_result(findings=())
    result = result if splits else CheckResult(result.source, {}, (), ())
    text = write_check_report(result, tmp_path / "new folder")
    assert "Nothing is wrong" in text and "##" not in text.partition("## Splits")[0].replace("# Check", "")
    assert ("## Splits" in text) == splits
