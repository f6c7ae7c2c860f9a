"""The evaluation's report, in the form of the paper's Table 3, with everything the numbers depend on.

A run folder gets `evaluation.md` for people and `evaluation.json` for programs.
"""

from __future__ import annotations

import json
import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from acfnet_tf._version import __version__
from acfnet_tf.config import EvaluationConfig
from acfnet_tf.data.sample import Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.files import write_atomically
from acfnet_tf.heads import heads_in
from acfnet_tf.reports.boundary import BoundaryCounts
from acfnet_tf.reports.report_text import report_text
from acfnet_tf.reports.scores import accuracy_of_images, iou_of_images, mean_over_classes

_PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


class Report(NamedTuple):
    """The text of `evaluation.md` and the content of `evaluation.json`."""

    text: str
    content: dict[str, Any]


def write_report(
    folder: str | Path,
    evaluation: Evaluation,
    *,
    model: str,
    initialization: str,
    class_names: Sequence[str],
    inference: EvaluationConfig,
    precision: str,
    samples: Sequence[Sample],
    split: str,
    data: str,
    comparison: Mapping[str, Any] | None = None,
    name: str | None = None,
    show: Callable[[str], object] | None = None,
) -> Report:
    """Writes `evaluation.json` and `evaluation.md` into a folder; each replaces its older version in one step.

    In the JSON file, shares are in 0 … 1 and what does not exist (the IoU of a class that neither occurs nor is
    predicted) is null; in the Markdown file they are percent and "–".

    Args:
        model: what was evaluated and what ran it, such as "model.keras, run by tensorflow".
        initialization: what its training began with, such as "keras.applications resnet101 (imagenet)".
        class_names: (N,) in the order of the class indices.
        inference: how the images became labels.
        precision: in which, such as "float32".
        samples: the images that were evaluated, in the order of `evaluation.images`.
        split: which part of the data they are, such as "val".
        data: what the data are, such as "Cityscapes folder /data/cityscapes"; without a full stop.
        comparison: with another run, as `compare` returns it; this run is the second.
        name: of the run; the folder's by default.
        show: gets the text before anything is written, so that it is seen where nothing can be written.

    Raises:
        UserError: a file cannot be written.
    """
    folder = Path(folder)
    heads = heads_in(evaluation.matrices)
    content = {
        "classes": list(class_names),
        "heads": {head: _result(evaluation, head, class_names) for head in heads},
        "images": _images(evaluation, heads, samples),
        "measured": {"model": model, "initialized_from": initialization, "precision": precision}
        | _conditions(inference, evaluation, split, data),
    }
    if comparison is not None:
        content["comparison"] = dict(comparison)
    text = report_text(name or folder.resolve().name, content)
    if show:
        show(text)
    write_atomically(folder / "evaluation.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    write_atomically(folder / "evaluation.md", text)
    return Report(text, content)


def describe_inference(inference: EvaluationConfig) -> str:
    """How an image becomes labels, in words."""
    height, width = inference.window
    where = (
        "whole image"
        if inference.mode == "whole"
        else f"sliding window {height}×{width} with {inference.window_overlap:.0%} overlap"
    )
    scales = f"scales {', '.join(map(str, inference.scales))}" if inference.multi_scale else "one scale (1.0)"
    return f"{where}, {scales}, {'with' if inference.flip else 'no'} left-right flip"


def _conditions(inference: EvaluationConfig, evaluation: Evaluation, split: str, data: str) -> dict[str, Any]:
    """What the numbers depend on, by name."""
    sizes = Counter("{}×{}".format(*size) for size in evaluation.sizes.tolist())
    versions = {"acfnet_tf": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    return {
        "data": data,
        "split": split,
        "images": len(evaluation.sizes),
        "image_sizes": dict(sizes.most_common()),
        "batch_size": 1,
        "inference": describe_inference(inference),
        "software": versions,
    }


def _result(evaluation: Evaluation, head: str, class_names: Sequence[str]) -> dict[str, Any]:
    matrix, near = evaluation.matrices[head], evaluation.others.get(head)
    return {
        "mean_iou": _or_none(matrix.mean_iou()),
        "pixel_accuracy": _or_none(matrix.pixel_accuracy()),
        "iou": dict(zip(class_names, map(_or_none, matrix.iou()), strict=True)),
        "confusion": matrix.counts.tolist(),
        "boundary": {str(width): _boundary_result(near, width, class_names) for width in near.widths} if near else {},
    }


def _boundary_result(counts: BoundaryCounts, width: int, class_names: Sequence[str]) -> dict[str, Any]:
    measures = {"boundary_iou": counts.boundary_iou(width), "trimap_iou": counts.trimap_iou(width)}
    return {name: _or_none(mean_over_classes(iou)) for name, iou in measures.items()} | {
        "classes": {
            name: {measure: _or_none(iou[index]) for measure, iou in measures.items()}
            for index, name in enumerate(class_names)
        }
    }


def _images(evaluation: Evaluation, heads: Sequence[str], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The name of every image and its scores by each head."""
    rows = [{"name": sample.name} for sample in samples]
    for head in heads:
        counts = evaluation.images[head]
        for row, iou, accuracy in zip(rows, iou_of_images(counts), accuracy_of_images(counts), strict=True):
            row[head] = {"mean_iou": _or_none(iou), "pixel_accuracy": _or_none(accuracy)}
    return rows


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
