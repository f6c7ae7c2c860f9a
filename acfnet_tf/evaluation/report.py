"""The evaluation's report, in the form of the paper's Table 3, with everything the numbers depend on.

A run folder gets `evaluation.md` for people and `evaluation.json` for programs.
"""

from __future__ import annotations

import json
import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

from acfnet_tf._version import __version__
from acfnet_tf.config import EvaluationConfig
from acfnet_tf.data.sample import Sample, open_source
from acfnet_tf.files import write_atomically
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.tables import markdown_table

_HEADS = ("coarse", "fine")
_PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


def write_report(
    run_dir: str | Path,
    matrices: Mapping[str, ConfusionMatrix],
    *,
    model: str,
    initialization: str,
    class_names: Sequence[str],
    evaluation: EvaluationConfig,
    samples: Sequence[Sample],
    split: str,
    data: str,
) -> str:
    """Writes `evaluation.json` and `evaluation.md` into the run folder; each replaces its older version in one step.

    In the JSON file, shares are in 0 … 1 and what does not exist (the IoU of a class that neither occurs nor is
    predicted) is null; in the Markdown file they are percent and "–".

    Args:
        matrices: {head: confusion matrix}, as `evaluate` returns them.
        model: what was evaluated and what ran it, such as "model.keras, run by tensorflow".
        initialization: what its training began with, such as "keras.applications resnet101 (imagenet)".
        class_names: (N,) in the order of the class indices.
        evaluation: how the images became labels.
        samples: the images that were evaluated.
        split: which part of the data they are, such as "val".
        data: what the data are, such as "Cityscapes folder /data/cityscapes"; without a full stop.

    Returns:
        The Markdown text.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    heads = [head for head in _HEADS if head in matrices]
    measured = {"model": model, "initialized_from": initialization} | _conditions(evaluation, samples, split, data)
    results = {head: _result(matrices[head], class_names) for head in heads}
    text = _markdown(run_dir.resolve().name, results, measured)
    content = {"classes": list(class_names), "heads": results, "measured": measured}
    write_atomically(run_dir / "evaluation.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    write_atomically(run_dir / "evaluation.md", text)
    return text


def describe_inference(evaluation: EvaluationConfig) -> str:
    """How an image becomes labels, in words."""
    height, width = evaluation.window
    where = (
        "whole image"
        if evaluation.mode == "whole"
        else f"sliding window {height}×{width} with {evaluation.window_overlap:.0%} overlap"
    )
    scales = f"scales {', '.join(map(str, evaluation.scales))}" if evaluation.multi_scale else "one scale (1.0)"
    return f"{where}, {scales}, {'with' if evaluation.flip else 'no'} left-right flip"


def _conditions(evaluation: EvaluationConfig, samples: Sequence[Sample], split: str, data: str) -> dict[str, Any]:
    """What the numbers depend on, by name."""
    sizes: Counter[str] = Counter()
    for sample in samples:
        with Image.open(open_source(sample.image)) as image:  # reads the header only
            sizes[f"{image.height}×{image.width}"] += 1
    versions = {"acfnet_tf": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    return {
        "data": data,
        "split": split,
        "images": len(samples),
        "image_sizes": dict(sizes.most_common()),
        "batch_size": 1,
        "inference": describe_inference(evaluation),
        "software": versions,
    }


def _result(matrix: ConfusionMatrix, class_names: Sequence[str]) -> dict[str, Any]:
    iou = [_or_none(value) for value in matrix.iou().tolist()]
    return {
        "mean_iou": _or_none(matrix.mean_iou()),
        "pixel_accuracy": _or_none(matrix.pixel_accuracy()),
        "iou": dict(zip(class_names, iou, strict=True)),
        "confusion": matrix.counts.tolist(),
    }


def _markdown(name: str, results: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Any]) -> str:
    heads = list(results)
    classes = list(results[heads[0]]["iou"])
    lines = [f"# Evaluation of {name}", "", "IoU in percent.", ""]
    lines += markdown_table(
        ["class", *heads],
        [[name, *(_percent(results[head]["iou"][name]) for head in heads)] for name in classes]
        + [["**mIoU**", *(f"**{_percent(results[head]['mean_iou'], 2)}**" for head in heads)]]
        + [["pixel accuracy", *(_percent(results[head]["pixel_accuracy"], 2) for head in heads)]],
    )
    lines += ["", "As one row for each head, in the form of the paper's Table 3:", ""]
    lines += markdown_table(
        ["head", *classes, "mIoU"],
        [
            [head, *map(_percent, results[head]["iou"].values()), _percent(results[head]["mean_iou"], 2)]
            for head in heads
        ],
    )
    sizes = [f"{size} ({count})" for size, count in measured["image_sizes"].items()]
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    lines += [
        "",
        "## How it was measured",
        "",
        f"- Model: {measured['model']}.",
        f"- Initialised from: {measured['initialized_from']}.",
        f"- Data: {measured['data']}, split {measured['split']}, {measured['images']} images.",
        f"- Image sizes, height×width: {', '.join(sizes[:5])}{more}; batch size {measured['batch_size']}.",
        f"- Inference: {measured['inference']}.",
        f"- Software: {', '.join(f'{name} {version}' for name, version in measured['software'].items())}.",
        '- "–": the class neither occurs nor is predicted; it is left out of the mean. The rules are those of the',
        "  official Cityscapes evaluation.",
    ]
    return "\n".join(lines) + "\n"


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
