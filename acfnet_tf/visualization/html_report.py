"""The evaluation as one HTML file that needs nothing else: numbers, figures, the worst and the best images."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.files import write_atomically
from acfnet_tf.progress import ProgressBar
from acfnet_tf.tables import percent, points
from acfnet_tf.visualization.errors import (
    draw_boundary_curves,
    draw_class_bars,
    draw_comparison,
    draw_confusion,
    excludes_zero,
    largest_confusions,
    rank_images,
)
from acfnet_tf.visualization.figure import Run, to_bytes
from acfnet_tf.visualization.palette import colorize
from acfnet_tf.visualization.results import CHANGE_COLORS, CHANGE_NAMES, Change, change_shares, changes, paint_changes

HEADS = ("coarse", "fine")
MAX_SIDE = 640
"""Pixels of the longer side of a picture; larger ones are scaled down."""
_CSS_PIXELS_PER_INCH = 120
_CHANGES = (Change.CORRECTED, Change.SPOILT, Change.BOTH_WRONG)


class Embedded(NamedTuple):
    """A picture inside the file: a data: URI, its size (CSS pixels), what stands under it: title, shares of colours."""

    uri: str
    width: int
    height: int
    title: str
    shares: Sequence[tuple[str, float]] = ()


class Shown(NamedTuple):
    """An image of the samples: its index among them, its pictures, and the labels that occur in them."""

    index: int
    pictures: list[Embedded]
    labels: set[int]


def write_html_report(
    file: Path,
    content: Mapping[str, Any],
    *,
    evaluation: Evaluation,
    runs: Sequence[Run],
    samples: Sequence[Sample],
    classes: ClassSet,
    config: str,
    commands: Sequence[str],
    shown: int = 6,
) -> Path:
    """Writes the report whole or not at all. It loads nothing, and its Content-Security-Policy forbids to.

    Args:
        content: what stands in evaluation.json; all numbers in the report are from there.
        evaluation: what was counted for it.
        runs: the last is the one that was evaluated; of those before it, the fine labels are shown beside.
        samples: the images that were evaluated, in the order of `evaluation.images`.
        classes: of the data and all runs.
        config: the resolved configuration, as text.
        commands: how to come to these numbers.
        shown: how many of the worst images, and of the best.

    Returns:
        `file`.

    Raises:
        DataError: an image cannot be read again.
    """
    ranked = rank_images(evaluation.images["fine"])
    worst, best = ranked[:shown], ranked[shown:][::-1][:shown]
    drawn = {
        index: _show(index, runs, samples[index], classes)
        for index in ProgressBar([*worst, *best], "Drawing the report", unit="image")
    }
    confusions = [
        confusion._replace(truth=classes.names[confusion.truth], predicted=classes.names[confusion.predicted])
        for confusion in largest_confusions(evaluation.matrices["fine"])
    ]
    text = _template().render(
        name=runs[-1].name,
        content=content,
        heads=[head for head in HEADS if head in content["heads"]],
        figures=_figures(content, evaluation, classes),
        confusions=confusions,
        classes=classes,
        occurring=sorted(set[int]().union(*(entry.labels for entry in drawn.values()))),
        worst=[drawn[index] for index in worst],
        best=[drawn[index] for index in best],
        changes=[(CHANGE_NAMES[kind], CHANGE_COLORS[kind]) for kind in _CHANGES],
        config=config,
        commands=commands,
    )
    write_atomically(file, text)
    return file


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "sha256": lambda text: base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode(),
    }
    environment.tests["beyond_chance"] = excludes_zero
    source = resources.files("acfnet_tf.visualization") / "report.html.jinja"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _figures(content: Mapping[str, Any], evaluation: Evaluation, classes: ClassSet) -> dict[str, Embedded]:
    """All plots, by the names that the template calls them."""
    figures = {"classes": _embed_figure(draw_class_bars(evaluation.matrices, classes), "IoU of every class")}
    for head, matrix in evaluation.matrices.items():
        figures[f"confusion_{head}"] = _embed_figure(
            draw_confusion(matrix, classes), f"Confusion matrix of the {head} head"
        )
    boundary = {head: found["boundary"] for head, found in content["heads"].items() if found.get("boundary")}
    if boundary:
        title = "Boundary IoU and trimap IoU against the width of the band"
        figures["boundary"] = _embed_figure(draw_boundary_curves(boundary), title)
    for head, compared in content.get("comparison", {}).get("heads", {}).items():
        title = f"Differences in IoU of the {head} head with 95 % intervals"
        figures[f"comparison_{head}"] = _embed_figure(draw_comparison(compared), title)
    return figures


def _embed_figure(figure: Figure, title: str) -> Embedded:
    width, height = (round(_CSS_PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
    return Embedded(_uri("png", to_bytes(figure, "png", dpi=160)), width, height, title)


def _show(index: int, runs: Sequence[Run], sample: Sample, classes: ClassSet) -> Shown:
    """Image, truth, both heads of the last run and where they differ, the fine labels of the others."""
    image, truth = load_sample(sample, classes)
    height, width = image.shape[:2]
    scale = max(height, width, MAX_SIDE) / MAX_SIDE
    size = max(1, round(height / scale)), max(1, round(width / scale))
    photo = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
    *others, own = runs
    found = own.predictor.labels(image)
    labels = {"truth": truth} | {head: found[head] for head in HEADS if head in found}
    labels |= {f"{run.name}, fine": run.predictor.labels(image, ("fine",))["fine"] for run in others}

    def pictures() -> Iterator[Embedded]:
        yield _embed(photo, "image", lossless=False)
        for title, values in labels.items():
            yield _embed(colorize(_smaller(values, size), classes.colors), title)
            if title == "fine" and "coarse" in found:
                codes = changes(found["coarse"], found["fine"], truth, classes.ignore_label)
                painted = paint_changes(photo, _smaller(codes, size))
                shares = change_shares(codes)
                yield _embed(painted, "coarse ≠ fine", lossless=False)._replace(
                    shares=[(CHANGE_COLORS[kind], shares[kind]) for kind in _CHANGES]
                )

    occurring = {min(label, len(classes)) for values in labels.values() for label in np.unique(values).tolist()}
    return Shown(index, list(pictures()), occurring)


def _smaller(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) to a size, without new labels."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, labels.shape, strict=True))
    return labels[np.ix_(rows, columns)]


def _embed(picture: np.ndarray, title: str, *, lossless: bool = True) -> Embedded:
    """Labels as WebP, which keeps every colour; photos as JPEG."""
    buffer = io.BytesIO()
    if lossless:
        Image.fromarray(picture).save(buffer, "WEBP", lossless=True)
    else:
        Image.fromarray(picture).save(buffer, "JPEG", quality=85, subsampling=0)
    height, width = picture.shape[:2]
    return Embedded(_uri("webp" if lossless else "jpeg", buffer.getvalue()), width, height, title)


def _uri(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"
