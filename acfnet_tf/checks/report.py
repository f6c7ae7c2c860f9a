"""The report of a check: `check.md` for people, `check.json` for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acfnet_tf.checks.check import CheckResult, SplitCounts
from acfnet_tf.checks.finding import Finding, counted
from acfnet_tf.data.classes import unpack_color
from acfnet_tf.files import write_atomically
from acfnet_tf.tables import markdown_table, plain

_MOST_DETAILS = 10
_MOST_CLASSES = 40


def write_check_report(
    result: CheckResult,
    folder: str | Path,
    weights: Mapping[str, Sequence[float]] | None = None,
    show: Callable[[str], object] | None = None,
) -> str:
    """Writes `check.json`, which is complete, and `check.md`, which is short; each replaces its older version.

    Args:
        result: of `check_data`.
        folder: made if needed.
        weights: proposed class weights, {name: (N,)}, from the training split.
        show: gets the text before anything is written, so that it is seen where nothing can be written.

    Returns:
        The text of `check.md`: errors first, then warnings, then what was counted.

    Raises:
        UserError: a file cannot be written.
    """
    folder = Path(folder)
    weights = {name: [round(float(weight), 4) for weight in values] for name, values in (weights or {}).items()}
    text = "\n".join(_text(result, weights)) + "\n"
    if show:
        show(text)
    content = json.dumps(_content(result, weights), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / "check.json", content + "\n")
    write_atomically(folder / "check.md", text)
    return text


def _content(result: CheckResult, weights: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    classes = result.source.classes
    return {
        "data": result.source.name,
        "note": result.source.note,
        "errors": result.errors,
        "warnings": result.warnings,
        "findings": [dataclasses.asdict(finding) for finding in result.findings],
        "unknown_values": [
            {**entry._asdict(), "value": entry.value if classes.coding == "index" else unpack_color(entry.value)}
            for entry in result.unknown
        ],
        "classes": list(classes.names),
        "splits": {name: _split_content(counts) for name, counts in result.splits.items()},
        "class_weights": dict(weights),
    }


def _split_content(counts: SplitCounts) -> dict[str, Any]:
    return {
        "images": counts.images,
        "masks": counts.masks,
        "image_sizes": [{"width": w, "height": h, "images": n} for (w, h), n in counts.image_sizes.items()],
        "image_kinds": counts.image_kinds,
        "mask_kinds": counts.mask_kinds,
        "class_pixels": counts.class_pixels.sum(axis=0).tolist(),
        "class_masks": (counts.class_pixels > 0).sum(axis=0).tolist(),
        "ignored_pixels": counts.ignored,
        "unknown_pixels": counts.unknown,
    }


def _text(result: CheckResult, weights: Mapping[str, Sequence[float]]) -> list[str]:
    verdict = f"{counted(result.errors, 'error')}, {counted(result.warnings, 'warning')}"
    lines = [
        f"# Check of {plain(result.source.name)}",
        "",
        f"**{verdict}.**" if result.findings else "**Nothing is wrong with it.**",
    ]
    for severity, title in (("error", "Errors"), ("warning", "Warnings")):
        findings = [finding for finding in result.findings if finding.severity == severity]
        if findings:
            lines += ["", f"## {title}", ""]
            lines += [line for finding in findings for line in _finding(finding)]
    if result.splits:
        lines += [
            "",
            "## Splits",
            "",
            *markdown_table(["split", "images", "masks", "ignored", "in no class"], _splits(result)),
        ]
        lines += ["", *(_kinds(name, counts) for name, counts in result.splits.items())]
        lines += ["", "## Classes", "", *_classes(result, weights)]
    if weights:
        lines += ["", "Proposed class weights, from the training split:", "", "```sh"]
        for name, values in weights.items():
            lines.append(f"# {name}\n--set train.loss.class_weights={','.join(f'{weight:g}' for weight in values)}")
        lines.append("```")
    return lines


def _finding(finding: Finding) -> list[str]:
    lines = [f"- **{finding.kind}**: {plain(finding.message)}"]
    lines += [f"  - {plain(detail)}" for detail in finding.details[:_MOST_DETAILS]]
    more = len(finding.details) - _MOST_DETAILS
    return [*lines, f"  - … and {more} more, see check.json"] if more > 0 else lines


def _splits(result: CheckResult) -> list[list[str]]:
    rows = []
    for name, counts in result.splits.items():
        total = int(counts.class_pixels.sum()) + counts.ignored + counts.unknown
        shares = [_percent(pixels, total) for pixels in (counts.ignored, counts.unknown)]
        rows.append([plain(name), f"{counts.images:,}", f"{counts.masks:,}", *shares])
    return rows


def _kinds(name: str, counts: SplitCounts) -> str:
    sizes = {f"{width}×{height}": images for (width, height), images in counts.image_sizes.items()}
    return f"- {plain(name)}: images {_most(sizes)}; {_most(counts.image_kinds)}; masks {_most(counts.mask_kinds)}"


def _most(numbers: Mapping[str, int]) -> str:
    """The most frequent ones."""
    shown = ", ".join(f"{name} ({number:,})" for name, number in list(numbers.items())[:4])
    return (shown or "none") + (f" and {len(numbers) - 4} more" if len(numbers) > 4 else "")


def _classes(result: CheckResult, weights: Mapping[str, Sequence[float]]) -> list[str]:
    """Share of the pixels, masks and weights of each class; of many classes, only of the rarest in the first split."""
    names, splits = result.source.classes.names, result.splits
    header = ["class", *(f"{plain(split)} {what}" for split in splits for what in ("pixels", "masks")), *weights]
    totals = {split: counts.class_pixels.sum(axis=0) for split, counts in splits.items()}
    occurrences = {split: (counts.class_pixels > 0).sum(axis=0) for split, counts in splits.items()}
    shown, note = range(len(names)), []
    if len(names) > _MOST_CLASSES:
        first = next(iter(totals.values()))
        shown = sorted(shown, key=lambda index: first[index])[:_MOST_CLASSES]
        note = ["", f"These are the {_MOST_CLASSES} rarest of {len(names)} classes; all are in check.json."]
    rows = []
    for index in shown:
        cells = [plain(names[index])]
        for split in splits:
            cells += [_percent(totals[split][index], totals[split].sum()), f"{occurrences[split][index]:,}"]
        rows.append([*cells, *(f"{values[index]:.4f}" for values in weights.values())])
    return [*markdown_table(header, rows), *note]


def _percent(part: int, whole: int) -> str:
    """Two digits that count, for rare classes have shares of all magnitudes."""
    if part == 0:
        return "–"
    share = 100 * part / whole
    return f"{share:.1f} %" if share >= 1 else f"{share:.2g} %"
