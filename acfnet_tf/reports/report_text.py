"""The evaluation's report for people, in Markdown; Table 3 of the paper is its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acfnet_tf.tables import markdown_table, percent, plain, points

_Content = Mapping[str, Any]


def report_text(name: str, content: _Content) -> str:
    """The text of `evaluation.md`, of the content of `evaluation.json`."""
    lines = [f"# Evaluation of {plain(name)}", "", "IoU in percent.", ""]
    lines += _scores(content["heads"])
    lines += _boundaries(content["heads"])
    if "comparison" in content:
        lines += _comparison(name, content["comparison"])
    lines += _conditions(content)
    return "\n".join(lines) + "\n"


def _scores(heads: _Content) -> list[str]:
    classes = list(next(iter(heads.values()))["iou"])
    lines = markdown_table(
        ["class", *heads],
        [[plain(name), *(percent(result["iou"][name]) for result in heads.values())] for name in classes]
        + [["**mIoU**", *(f"**{percent(result['mean_iou'], 2)}**" for result in heads.values())]]
        + [["pixel accuracy", *(percent(result["pixel_accuracy"], 2) for result in heads.values())]],
    )
    lines += ["", "As one row for each head, in the form of the paper's Table 3:", ""]
    return lines + markdown_table(
        ["head", *map(plain, classes), "mIoU"],
        [
            [head, *map(percent, result["iou"].values()), percent(result["mean_iou"], 2)]
            for head, result in heads.items()
        ],
    )


def _boundaries(heads: _Content) -> list[str]:
    if not (widths := list(next(iter(heads.values()))["boundary"])):
        return []
    measures = {"boundary_iou": "Boundary IoU", "trimap_iou": "trimap IoU"}
    rows = [
        [f"{width} px"]
        + [percent(result["boundary"][width][measure], 2) for measure in measures for result in heads.values()]
        for width in widths
    ]
    header = ["within", *(f"{shown}, {head}" for shown in measures.values() for head in heads)]
    return ["", "Near boundaries, means over the classes:", "", *markdown_table(header, rows)]


def _comparison(name: str, comparison: _Content) -> list[str]:
    name, other, intervals = plain(name), plain(comparison["with"]["name"]), comparison["intervals"]
    confidence = f"{intervals['confidence']:.0%}"
    lines = ["", f"## Compared with {other}"]
    for head, result in comparison["heads"].items():
        header = [head, other, name, "difference", f"{confidence} interval"]
        rows = [_compared(label, values, 1) for label, values in result["iou"].items()]
        rows += [_compared("mIoU", result["mean_iou"], 2)]
        lines += ["", *markdown_table(header, rows)]
    return [
        *lines,
        "",
        f"Difference: {name} − {other}, on the same images, in points of IoU. Where its interval holds 0,",
        f"these images cannot tell the two apart. Intervals: {intervals['method']}, {intervals['resamples']:,}",
        "resamples, the IoU of each from its summed pixels. They cover the choice of images, not chance in training.",
    ]


def _compared(label: str, values: _Content, digits: int) -> list[str]:
    shares = [percent(values[name], digits) for name in ("first", "second")]
    difference, low, high = (points(values[name], digits) for name in ("difference", "low", "high"))
    return [plain(label), *shares, difference, "–" if values["low"] is None else f"{low} … {high}"]


def _conditions(content: _Content) -> list[str]:
    measured, heads = content["measured"], content["heads"]
    sizes = [f"{size} ({count})" for size, count in measured["image_sizes"].items()]
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    lines = [
        "",
        "## How it was measured",
        "",
        f"- Model: {plain(measured['model'])}.",
        f"- Initialised from: {plain(measured['initialized_from'])}.",
        f"- Data: {plain(measured['data'])}, split {plain(measured['split'])}, {measured['images']} images.",
        f"- Image sizes, height×width: {', '.join(sizes[:5])}{more}; batch size {measured['batch_size']}.",
        f"- Inference: {measured['inference']}. Precision: {measured['precision']}.",
        f"- Software: {', '.join(f'{name} {version}' for name, version in measured['software'].items())}.",
        '- "–": the class neither occurs nor is predicted; it is left out of the mean. The rules are those of the',
        "  official Cityscapes evaluation.",
    ]
    if next(iter(heads.values()))["boundary"]:
        lines += [
            "- Near boundaries: a pixel is within d px where another label occurs at most d rows and d columns away.",
            "  Boundary IoU (Cheng et al., 2021): IoU of a class's pixels within d px in the truth and those within d",
            "  px in the prediction. Trimap IoU (Krähenbühl and Koltun, 2011): plain IoU on the pixels within d px in",
            "  the truth. Ignored pixels and the frame of the image make no boundaries.",
        ]
    return lines
