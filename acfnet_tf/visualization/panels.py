"""Image, truth, coarse and fine segmentation side by side, as in the paper's Fig. 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from acfnet_tf.config import UserError
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample, read_image
from acfnet_tf.data.sample import Sample
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.visualization.palette import colorize

PANELS = ("image", "truth", "coarse", "fine")
_FONT_SIZE = 18
_LINE = 28
_GAP = 6
_BACKGROUND, _INK = (255, 255, 255), (0, 0, 0)


def write_panels(
    predictor: Predictor,
    samples: Sequence[Sample],
    figures_dir: str | Path,
    classes: ClassSet,
    *,
    panel_width: int = 640,
    sheet_rows: int = 8,
    progress: bool = True,
) -> Path:
    """Draws `NAME_panels.png` for every sample and `panels.png`, a sheet of the first `sheet_rows` of them.

    The titles stand above the columns; below are the names and colours of the classes that occur. Ignored pixels of the
    truth are black. A sample without truth and a model without a coarse head have fewer columns.

    Args:
        classes: of the data and the model.
        panel_width: pixels; every panel is scaled to it.

    Returns:
        The sheet.

    Raises:
        UserError: no samples.
        DataError: a sample cannot be read.
    """
    if not samples:
        raise UserError("no samples to draw")
    figures_dir = Path(figures_dir)
    rows, seen = [], set()
    for sample in tqdm(samples, "Drawing", unit="image", disable=not progress):
        row, occurring = _row(predictor, sample, classes, panel_width)
        file = figures_dir / f"{sample.name}_panels.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet([row], classes, occurring).save(file)
        if len(rows) < sheet_rows:
            rows.append(row)
            seen |= occurring
    sheet = figures_dir / "panels.png"
    draw_sheet(rows, classes, seen).save(sheet)
    return sheet


def draw_sample(predictor: Predictor, sample: Sample, classes: ClassSet, *, panel_width: int = 640) -> Image.Image:
    """The panels of one sample, with titles and legend; see `write_panels`."""
    row, occurring = _row(predictor, sample, classes, panel_width)
    return draw_sheet([row], classes, occurring)


def _row(
    predictor: Predictor, sample: Sample, classes: ClassSet, panel_width: int
) -> tuple[dict[str, Image.Image], set[int]]:
    """The panels of a sample by title, and the labels that occur in them."""
    image, truth = load_sample(sample, classes) if sample.label else (read_image(sample.image, upright=False), None)
    labels = predictor.labels(image)
    if truth is not None:
        labels["truth"] = truth
    occurring = set(np.unique(np.concatenate([values.ravel() for values in labels.values()])).tolist())
    row = {"image": image} | {name: colorize(values, classes.colors) for name, values in labels.items()}
    return {name: _scaled(row[name], panel_width, smooth=name == "image") for name in PANELS if name in row}, occurring


def draw_sheet(
    rows: Sequence[Mapping[str, Image.Image]], classes: ClassSet, occurring: set[int], titles: Sequence[str] = PANELS
) -> Image.Image:
    """Rows of panels under their titles, with a legend.

    Args:
        rows: {title: panel}, the panels of all rows equally wide and those of one row equally high.
        classes: what the legend explains.
        occurring: labels that it explains; any among them that is no class is explained as "ignored".
        titles: of the columns, in order; those that no row has are left out.
    """
    titles = [title for title in titles if any(title in row for row in rows)]
    panel_width = next(iter(rows[0].values())).width
    width = len(titles) * (panel_width + _GAP) + _GAP
    legend = _legend(width, classes, occurring)
    height = _LINE + sum(next(iter(row.values())).height + _GAP for row in rows) + legend.height
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    left = {title: _GAP + column * (panel_width + _GAP) for column, title in enumerate(titles)}
    for title in titles:
        draw.text((left[title] + panel_width // 2, _LINE // 2), title, _INK, font, anchor="mm")
    top = _LINE
    for row in rows:
        for title, panel in row.items():
            sheet.paste(panel, (left[title], top))
        top += panel.height + _GAP
    sheet.paste(legend, (0, top))
    return sheet


def _legend(width: int, classes: ClassSet, occurring: set[int]) -> Image.Image:
    """A swatch and a name for each class, wrapped to the width."""
    font = ImageFont.load_default(_FONT_SIZE)
    entries = [(classes.names[i], classes.colors[i]) for i in sorted(occurring) if i < len(classes)]
    if any(index >= len(classes) for index in occurring):
        entries.append(("ignored", (0, 0, 0)))
    swatch = _LINE - 10
    x, y, places = _GAP, 0, []
    for name, _ in entries:
        needed = swatch + _GAP + round(font.getlength(name)) + 3 * _GAP
        if x > _GAP and x + needed > width:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += needed
    legend = Image.new("RGB", (width, y + _LINE), _BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y + 5, x + swatch, y + 5 + swatch), color, _INK)
        draw.text((x + swatch + _GAP, y + _LINE // 2), name, _INK, font, anchor="lm")
    return legend


def _scaled(panel: np.ndarray, width: int, *, smooth: bool) -> Image.Image:
    """To the width, keeping the shape; labels without mixing their colours."""
    height = max(1, round(panel.shape[0] * width / panel.shape[1]))
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return Image.fromarray(panel).resize((width, height), method)
