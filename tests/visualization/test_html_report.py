"""The HTML report: one file that loads nothing, with the numbers of evaluation.json and the right images."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import EvaluationConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.reports.boundary import near_boundaries
from acfnet_tf.reports.comparison import compare
from acfnet_tf.reports.report import write_report
from acfnet_tf.visualization.html_report import MAX_SIDE, write_html_report
from acfnet_tf.visualization.panels import Run

EVIL = '<img src="https://example.org/x.png">'
NAMES = ("road", EVIL, "never seen", "car & van")
CLASSES = ClassSet(NAMES, default_colors(4), {index: index for index in range(4)} | {255: -1})
SCRIPT = "</code><script>alert(1)</script>"


class Painted:
    """Stands in for a predictor: its labels are painted in the image's channels, fine in red and coarse in green."""

    num_classes = 4

    def __init__(self, *channels: tuple[str, int]) -> None:
        self.channels = dict(channels)
        self.heads = tuple(self.channels)

    def labels(self, image: np.ndarray, heads=None) -> dict[str, np.ndarray]:
        return {head: image[..., self.channels[head]].copy() for head in heads or self.heads}


OWN = Run("own & only", Painted(("fine", 0), ("coarse", 1)))
OTHER = Run("other", Painted(("fine", 2)))


def write_samples(folder: Path) -> list[Sample]:
    """Landscape, portrait, a larger one, one pixel, and one that is ignored as a whole.

    Each next one has more pixels wrong, in the fine head in steps of 10 %.
    """
    rng = np.random.default_rng(0)
    samples = []
    for index, size in enumerate([(20, 30), (30, 20), (300, 700), (1, 1), (8, 8)]):
        truth = rng.integers(0, 2, size).astype(np.uint8) * 3
        heads = [np.where(rng.random(size) < share, 1, truth) for share in (0.1 * index, 0.1 * index + 0.1, 0.3)]
        if index == 3:
            heads[0][:] = 1
        if index == 4:
            truth[:] = 255
        Image.fromarray(np.stack(heads, axis=-1).astype(np.uint8)).save(folder / f"{index}.png")
        Image.fromarray(truth).save(folder / f"{index}_mask.png")
        samples.append(Sample(f"image <{index}>", str(folder / f"{index}.png"), str(folder / f"{index}_mask.png")))
    return samples


class Page(HTMLParser):
    """Tables, images, references and texts of an HTML file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.references: list[str] = []
        self.images: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.meta: dict[str, str] = {}
        self.articles: dict[str, list[str]] = {"worst": [], "best": []}
        self.rows: dict[str, dict[str, list[str]]] = {}  # {table: {row: its data-value}}
        self._table = self._row = self._group = None
        self._name = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.references += [found[key] for key in ("src", "href", "srcset", "action", "data") if key in found]
        if tag == "img":
            self.images.append(found)
        if tag == "meta" and "http-equiv" in found:
            self.meta[found["http-equiv"]] = found["content"]
        if found.get("id") in self.articles:
            self._group = found["id"]
        if tag == "article":
            self.articles[self._group].append(found["data-image"])
        if tag == "table":
            self._table = self.rows.setdefault(found["id"], {})
        if tag == "tr":
            self._row, self._values = "", []
        if tag == "th":
            self._name = not self._row
        if "data-value" in found and tag == "td":
            self._values.append(found["data-value"])

    def handle_endtag(self, tag):
        if tag == "th":
            self._name = False
        if tag == "tr" and self._values:
            self._table[self._row] = self._values

    def handle_data(self, data):
        if self._name:
            self._row += data.strip()


def shown(*values: float | None) -> list[str]:
    return ["" if value is None else str(value) for value in values]


def decode(entry: dict[str, str]) -> np.ndarray:
    """An image of the page as (H, W, 3)."""
    content = base64.b64decode(entry["src"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """{name: (content, page)}: of two runs with two heads, of one with one head and without boundaries, and of an image
    with nothing but ignored pixels.
    """
    folder = tmp_path_factory.mktemp("report")
    every = write_samples(folder)
    result = {}
    for name, runs, widths, first in (
        ("compared", [OTHER, OWN], (1, 3), 0),
        ("baseline", [OTHER], (), 0),
        ("nothing", [OTHER, OWN], (), 4),
    ):
        samples = every[first:]
        counts = near_boundaries(widths)
        found = [evaluate(run.predictor, samples, CLASSES, make_counts=counts, progress=False) for run in runs]
        content = write_report(
            folder / name,
            found[-1],
            model="model.keras",
            initialization="nothing",
            class_names=NAMES,
            inference=EvaluationConfig(),
            precision="float32",
            samples=samples,
            split="val",
            data="painted images",
            comparison=compare(runs[0].name, *found, NAMES) if len(runs) > 1 else None,
        ).content
        file = write_html_report(
            folder / name / "new" / "report.html",
            content,
            evaluation=found[-1],
            runs=runs,
            samples=samples,
            classes=CLASSES,
            config=f'{{"note": "{SCRIPT}"}}',
            commands=["python main.py --mode=evaluate", SCRIPT],
            shown=2,
        )
        assert [entry.name for entry in file.parent.iterdir()] == ["report.html"]
        result[name] = content, Page(file.read_text(encoding="utf-8"))
    return result


@pytest.mark.parametrize("name", ["compared", "baseline"])
def test_nothing_is_loaded(written, name):
    _, page = written[name]
    assert page.references and all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not re.search(r"url\(|@import", page.text)
    policy = page.meta["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert len(page.text) < 1_500_000


def test_names_and_texts_are_escaped(written):
    _, page = written["compared"]
    assert page.tags.count("script") == 1
    assert EVIL not in page.text and EVIL in page.rows["class-table"]
    assert SCRIPT not in page.text and "&lt;script&gt;alert(1)" in page.text


def test_numbers_are_those_of_evaluation_json(written):
    content, page = written["compared"]
    coarse, fine = content["heads"]["coarse"], content["heads"]["fine"]
    for name in ("road", EVIL, "car & van"):
        assert page.rows["class-table"][name][:2] == shown(coarse["iou"][name], fine["iou"][name])
        difference = float(page.rows["class-table"][name][2])
        assert difference == pytest.approx(fine["iou"][name] - coarse["iou"][name])
    assert page.rows["class-table"]["never seen"] == ["", "", ""]
    assert page.rows["class-table"]["mIoU"][:2] == shown(coarse["mean_iou"], fine["mean_iou"])
    assert page.rows["class-table"]["pixel accuracy"][:2] == shown(coarse["pixel_accuracy"], fine["pixel_accuracy"])
    assert f"{100 * fine['mean_iou']:.2f} %" in page.text
    for width in ("1", "3"):
        expected = [entry["boundary"][width]["boundary_iou"] for entry in (coarse, fine)]
        assert page.rows["boundary-table"][width][:2] == shown(*expected)
    assert len(content["images"]) == 5
    for image in content["images"]:
        heads = image["coarse"], image["fine"]
        expected = [head["mean_iou"] for head in heads] + [head["pixel_accuracy"] for head in heads]
        assert page.rows["image-table"][image["name"]] == shown(*expected)


def test_comparison(written):
    content, page = written["compared"]
    compared = content["comparison"]["heads"]["fine"]
    for name, row in compared["iou"].items():
        keys = ("first", "second", "difference", "low", "high")
        assert page.rows["comparison-fine"][name] == shown(*(row[key] for key in keys))
    assert compared["mean_iou"]["low"] > 0
    assert "The interval excludes 0: own &amp; only is better" in page.text
    assert "comparison-coarse" not in page.rows  # the other run has no coarse head


def test_a_comparison_that_measured_nothing_says_so(written):
    content, page = written["nothing"]
    assert content["comparison"]["heads"]["fine"]["mean_iou"]["difference"] is None
    assert "Nothing was measured." in page.text
    assert "The interval contains 0" not in page.text and "not clearly different" not in page.text


def test_worst_and_best_images(written):
    content, page = written["compared"]
    scores = {image["name"]: image["fine"]["mean_iou"] for image in content["images"]}
    assert scores["image <4>"] is None  # nothing but ignored pixels: neither
    assert page.articles == {"worst": ["image <3>", "image <2>"], "best": ["image <0>", "image <1>"]}


def test_pictures(written):
    _, page = written["compared"]
    panels = {entry["alt"]: entry for entry in page.images if "image <2>" in entry["alt"]}
    assert list(panels) == [
        f"{title}, image <2>" for title in ("image", "truth", "coarse", "fine", "coarse ≠ fine", "other, fine")
    ]
    size = round(300 / 700 * MAX_SIDE), MAX_SIDE
    assert {decode(entry).shape for entry in panels.values()} == {(*size, 3)}
    assert {(int(entry["height"]), int(entry["width"])) for entry in panels.values()} == {size}
    colors = {tuple(color) for color in decode(panels["fine, image <2>"]).reshape(-1, 3).tolist()}
    assert colors == {CLASSES.colors[label] for label in (0, 1, 3)}


def test_small_pictures_keep_every_pixel(written):
    _, page = written["compared"]
    fine, truth = (
        decode(entry) for title in ("fine", "truth") for entry in page.images if entry["alt"] == f"{title}, image <1>"
    )
    assert fine.shape == (30, 20, 3)
    assert 0 < (fine != truth).any(axis=-1).mean() < 0.2


def test_baseline_without_coarse_head_boundaries_and_comparison(written):
    content, page = written["baseline"]
    assert set(page.rows) == {"class-table", "confusion-table", "image-table"}
    assert page.rows["class-table"]["road"] == shown(content["heads"]["fine"]["iou"]["road"])
    assert not any("coarse" in entry["alt"] for entry in page.images)
    assert "Comparison" not in page.text and "coarse" not in re.sub(r"<style>.*?</style>", "", page.text)


def test_all_pictures_are_described(written):
    assert all(entry["alt"] for _, page in written.values() for entry in page.images)


def test_how_it_was_measured_and_reproduced(written):
    content, page = written["compared"]
    for value in (content["measured"]["inference"], *content["measured"]["software"].values(), "painted images"):
        assert value in page.text
    assert "python main.py --mode=evaluate" in page.text
