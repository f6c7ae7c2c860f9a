"""The evaluation as one HTML file that needs nothing else: numbers, figures, the worst and the best images."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.files import write_atomically
from acfnet_tf.heads import COARSE, FINE, heads_in
from acfnet_tf.pictures import encoded, read_picture
from acfnet_tf.progress import ProgressBar
from acfnet_tf.tables import percent, points
from acfnet_tf.visualization import changes, confusions
from acfnet_tf.visualization.palette import colorize, resized
from acfnet_tf.visualization.panels import Run, to_bytes

MAX_SIDE = 640
"""Pixels of the longer side of a picture; larger ones are scaled down."""
_CSS_PIXELS_PER_INCH = 120
_AS_PHOTO = {"form": "JPEG", "quality": 85, "subsampling": 0}
_AS_LABELS = {"form": "WEBP", "lossless": True}
"""This keeps every colour."""


class EmbeddedImage(NamedTuple):
    """A picture inside the file.

    Attributes:
        uri: the whole picture, as "data:…".
        width, height: in CSS pixels.
        shares: of the colours in it, where they are explained.
    """

    uri: str
    width: int
    height: int
    title: str
    shares: Sequence[tuple[str, float]] = ()


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
        config: the resolved configuration, as text.
        commands: how to come to these numbers.
        shown: how many of the worst images, and of the best.

    Returns:
        `file`.

    Raises:
        DataError: an image cannot be read again.
    """
    ranked = confusions.rank_images(evaluation.images[FINE])
    worst, best = ranked[:shown], ranked[shown:][::-1][:shown]
    drawn = {
        index: _show(index, runs, samples[index], classes)
        for index in ProgressBar([*worst, *best], "Drawing the report", unit="image")
    }
    mistakes = [
        confusion._replace(truth=classes.names[confusion.truth], predicted=classes.names[confusion.predicted])
        for confusion in confusions.largest_confusions(evaluation.matrices[FINE])
    ]
    text = _template().render(
        name=runs[-1].name,
        content=content,
        heads=heads_in(content["heads"]),
        coarse=COARSE,
        fine=FINE,
        figures=_figures(content, evaluation, classes),
        confusions=mistakes,
        classes=classes,
        occurring=sorted(set[int]().union(*(entry["labels"] for entry in drawn.values()))),
        worst=[drawn[index] for index in worst],
        best=[drawn[index] for index in best],
        differ=changes.TITLE,
        changes=[(changes.NAMES[kind], changes.COLORS[kind]) for kind in changes.WITH_TRUTH],
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
    environment.tests["beyond_chance"] = confusions.excludes_zero
    source = resources.files("acfnet_tf.visualization") / "report.html.jinja"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _figures(content: Mapping[str, Any], evaluation: Evaluation, classes: ClassSet) -> dict[str, EmbeddedImage]:
    """All plots, by the names that the template calls them."""
    figures = {"classes": _embed_figure(confusions.draw_class_bars(evaluation.matrices, classes), "IoU of every class")}
    for head, matrix in evaluation.matrices.items():
        figures[f"confusion_{head}"] = _embed_figure(
            confusions.draw_confusion(matrix, classes), f"Confusion matrix of the {head} head"
        )
    boundary = {head: found["boundary"] for head, found in content["heads"].items() if found.get("boundary")}
    if boundary:
        title = "Boundary IoU and trimap IoU against the width of the band"
        figures["boundary"] = _embed_figure(confusions.draw_boundary_curves(boundary), title)
    for head, compared in content.get("comparison", {}).get("heads", {}).items():
        title = f"Differences in IoU of the {head} head with 95 % intervals"
        figures[f"comparison_{head}"] = _embed_figure(confusions.draw_comparison(compared), title)
    return figures


def _embed_figure(figure: Figure, title: str) -> EmbeddedImage:
    width, height = (round(_CSS_PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
    return EmbeddedImage(_uri("png", to_bytes(figure, "png", dpi=160)), width, height, title)


def _show(index: int, runs: Sequence[Run], sample: Sample, classes: ClassSet) -> dict[str, Any]:
    """An image: its index among the samples, its pictures, and the labels that occur in them.

    The pictures are image, truth, both heads of the last run and where they differ, and the fine labels of the others.
    """
    picture = read_picture(sample, classes)
    scale = max(*picture.size, MAX_SIDE) / MAX_SIDE
    size = tuple(max(1, round(length / scale)) for length in picture.size)
    photo = resized(picture.image, size)
    *others, last = runs
    said = last.predictor.labels(picture.image)
    labels = {"truth": picture.label} | {head: said[head] for head in heads_in(said)}
    compared = {f"{run.name}, {FINE}": run.predictor.labels(picture.image, (FINE,))[FINE] for run in others}

    def embedded(labels: Mapping[str, np.ndarray]) -> list[EmbeddedImage]:
        return [
            _embed(colorize(resized(values, size), classes.colors), title, **_AS_LABELS)
            for title, values in labels.items()
        ]

    pictures = [_embed(photo, "image", **_AS_PHOTO), *embedded(labels)]
    if found := changes.find_changes(said, picture.label, classes.ignore_label):
        shares = [(changes.COLORS[kind], share) for kind, share in zip(found.kinds, found.shares, strict=True)]
        pictures.append(_embed(found.painted(photo), changes.TITLE, **_AS_PHOTO)._replace(shares=shares))
    labels |= compared
    occurring = {min(label, len(classes)) for values in labels.values() for label in np.unique(values).tolist()}
    return {"index": index, "pictures": pictures + embedded(compared), "labels": occurring}


def _embed(picture: np.ndarray, title: str, form: str, **options: Any) -> EmbeddedImage:
    height, width = picture.shape[:2]
    return EmbeddedImage(_uri(form.lower(), encoded(picture, form, **options)), width, height, title)


def _uri(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"
