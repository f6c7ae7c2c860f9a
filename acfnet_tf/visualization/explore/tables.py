"""Tables and legends of the page, in HTML. Names are escaped: a class may be called anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.heads import heads_in
from acfnet_tf.tables import percent
from acfnet_tf.visualization import changes
from acfnet_tf.visualization.explore.analysis import Analysis, Probe, areas, occurring
from acfnet_tf.visualization.panels import HOT, Run

MOST_CLASSES = 8
"""Classes in a pixel's table; the others of a hundred classes share next to nothing."""


def area_table(analysis: Analysis, runs: Sequence[Run], classes: ClassSet) -> str:
    """How much of the image each class covers, in percent, by run and head; largest first."""
    columns = [
        (_title(run.name if len(runs) > 1 else "area", head, labels, len(runs) > 1), areas(labels[head], len(classes)))
        for run, labels in zip(runs, analysis.labels, strict=True)
        for head in heads_in(labels)
    ]
    titles, shares = zip(*columns, strict=True)
    order = sorted(occurring(analysis, len(classes)), key=lambda label: -max(column[label] for column in shares))
    return _table(classes, titles, {label: [column[label] for column in shares] for label in order})


def probe_table(probe: Probe, classes: ClassSet) -> str:
    """Attention over class centers, and probabilities of both heads, of the classes that matter most at a pixel."""
    columns = {"attention": probe.attention} if probe.attention is not None else {}
    heads = probe.probabilities
    columns |= {_title("probability", head, heads, False): heads[head] for head in heads_in(heads)}
    highest = np.max(list(columns.values()), axis=0)
    order = np.argsort(-highest, kind="stable")[:MOST_CLASSES].tolist()
    return _table(classes, list(columns), {label: [column[label] for column in columns.values()] for label in order})


def change_legend(found: changes.Changes) -> str:
    """What the colours of a difference map mean, with the share of each."""
    return "".join(
        f'<span class="item"><i style="background:{changes.COLORS[kind]}"></i>'
        f"{changes.NAMES[kind]} {percent(share)} %</span>"
        for kind, share in zip(found.kinds, found.shares, strict=True)
    )


def heat_legend(lowest: float) -> str:
    """The colours of similarity maps."""
    colors = ", ".join(to_hex(matplotlib.colormaps[HOT](place)) for place in np.linspace(0, 1, 9))
    ramp = f'<span class="ramp" style="background:linear-gradient(to right, {colors})"></span>'
    return f'Cosine similarity to the cross: <span class="item">{lowest:g}{ramp}1</span>'


def _title(name: str, head: str, heads: Collection[str], named: bool) -> str:
    """Of a column: a head where there are two, with the name before it if it tells runs apart."""
    return name if len(heads) == 1 else f"{name} {head}" if named else head


def _table(classes: ClassSet, titles: Sequence[str], rows: dict[int, list[float]]) -> str:
    """Shares as percent with bars, a row for each class."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in ("class", *titles))
    body = []
    for label, shares in rows.items():
        swatch = f'<i style="background:rgb{classes.colors[label]}"></i>&nbsp;'
        cells = "".join(f'<td style="--share:{percent(share)}%">{percent(share)} %</td>' for share in shares)
        body.append(f'<tr><th scope="row">{swatch}{escape(classes.names[label])}</th>{cells}</tr>')
    table = f'<table class="shares"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<div class="scroll">{table}</div>'
