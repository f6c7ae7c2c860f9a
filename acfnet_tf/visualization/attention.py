"""Which class centers the positions of an image receive (Eq. 3)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.heads import COARSE, FINE
from acfnet_tf.pictures import Picture
from acfnet_tf.tables import percent
from acfnet_tf.visualization import panels
from acfnet_tf.visualization.inspection import Inspection, inspector_of
from acfnet_tf.visualization.panels import Run

_WIDTH, _COLORBAR_WIDTH = 8.4, 0.7
"""Inches of all maps in a row, and of the colour bar beside them."""
_TITLE, _HEAD, _BAR = 0.22, 0.42, 0.2
"""Inches of the title of a map, of that of bars, and of a bar with its gap."""
_IMAGE_HEIGHT = 1.4, 2.6
"""Inches, at least and at most."""
_BARS, _MAPS = 6, 12
"""So many classes have a bar of their own at each pixel, and so many a map."""
_LEAST_BAR, _LEAST_MAP = 0.005, 0.05
"""Classes whose shares are all smaller have none."""


class _Bars(NamedTuple):
    """What is drawn at a pixel: of each bar its name and colour, the share of the center, and that of the fine head."""

    title: str
    names: list[str]
    colors: list[np.ndarray]
    attention: np.ndarray
    fine: np.ndarray


@panels.styled
def draw_attention(
    run: Run, picture: Picture, pixels: Sequence[tuple[int, int]], shown: Sequence[int] | None, classes: ClassSet
) -> Figure:
    """How much of each class center the positions of an image receive: bars at some pixels, a map for each class.

    Above: the image with numbered crosses, and for each of these pixels and its classes the share of the center that it
    receives, which is its coarse probability, beside the probability that the fine head gives the class there. Below:
    maps of the shares. At every position the shares of all classes add up to 100 %.

    Args:
        pixels: (x, y) of bars, those of the nearest position of the feature map; none: only the maps are drawn.
        shown: classes of the maps; None: those of which some position receives more than 5 %, at most 12, the ones
            with the largest sum first.

    Raises:
        UserError: the model has no class centers, gives them to all pixels alike, or is no ACFNet.
    """
    inspection = inspector_of(run.predictor)(picture.image)
    if not inspection.attends:
        problem = "has no class centers" if inspection.centers is None else "gives all pixels the same class centers"
        raise UserError(f"{run.name} {problem}: attention exists in ACF runs, such as those of --experiment=acf_aspp")
    shown = _most_attended(inspection.probabilities[COARSE]) if shown is None else shown
    aspect = min(max(picture.size[0] / picture.size[1], 0.2), 5)
    widest = 4 if aspect <= 1 else 6
    columns = widest if pixels else min(widest, len(shown))
    map_width = _WIDTH / widest
    maps_height = math.ceil(len(shown) / columns) * (map_width * aspect + _TITLE)
    if not pixels:
        figure = panels.close_together(columns * map_width + _COLORBAR_WIDTH, maps_height)
        _draw_maps(figure, inspection, shown, columns, map_width, classes)
        return figure

    # Tiles, two or three in a row: the image, then the bars of each pixel.
    tile_columns = 2 if len(pixels) % 2 else 3
    bars = [_bars(inspection, pixel, number, classes) for number, pixel in enumerate(pixels, start=1)]
    slots = [0, *(len(entry.names) for entry in bars)]
    slots = [max(slots[start : start + tile_columns]) for start in range(0, len(slots), tile_columns)]
    heights = [_HEAD + count * _BAR for count in slots]
    heights[0] = max(heights[0], min(max(_WIDTH / tile_columns * aspect, _IMAGE_HEIGHT[0]), _IMAGE_HEIGHT[1]))
    figure = panels.close_together(_WIDTH + _COLORBAR_WIDTH, sum(heights) + maps_height)
    above, below = figure.subfigures(2, 1, height_ratios=[sum(heights), maps_height])
    grid = above.add_gridspec(len(heights), tile_columns, height_ratios=heights)
    image_axes = above.add_subplot(grid[0, 0], anchor="NW")
    panels.show_image(image_axes, picture.image)
    for number, (pixel, entry) in enumerate(zip(pixels, bars, strict=True), start=1):
        panels.mark(image_axes, pixel)
        _write_number(image_axes, pixel, number, inspection.size)
        row, column = divmod(number, tile_columns)
        tile = grid[row, column].subgridspec(1, 2)
        _draw_bars([above.add_subplot(half) for half in tile], entry, (heights[row] - _HEAD) / _BAR)
    _draw_maps(below, inspection, shown, columns, map_width, classes)
    return figure


def _most_attended(shares: np.ndarray) -> list[int]:
    """The classes that have a map, of shares (h, w, N); never none."""
    ranked = np.argsort(-shares.sum(axis=(0, 1)), kind="stable").tolist()
    return ([label for label in ranked if shares[..., label].max() > _LEAST_MAP] or ranked)[:_MAPS]


def _bars(inspection: Inspection, pixel: tuple[int, int], number: int, classes: ClassSet) -> _Bars:
    """The classes with the largest shares, those that receive more first; then the sum of the others, if any."""
    attention, fine = (inspection.probabilities[head][inspection.cell(pixel)] for head in (COARSE, FINE))
    larger = np.maximum(attention, fine)
    named = [label for label in np.argsort(-larger, kind="stable")[:_BARS].tolist() if larger[label] >= _LEAST_BAR]
    named.sort(key=lambda label: -attention[label])
    names = [panels.class_name(classes, label, 20) for label in named]
    colors = [np.divide(classes.colors[label], 255) for label in named]
    attention, fine = ([*values[named], max(0.0, 1 - values[named].sum())] for values in (attention, fine))
    if len(named) == len(classes):
        attention, fine = attention[:-1], fine[:-1]
    else:
        names, colors = [*names, "others"], [*colors, np.full(3, 0.8)]
    return _Bars(f"pixel {number} ({pixel[0]}, {pixel[1]})", names, colors, np.array(attention), np.array(fine))


def _draw_bars(pair: Sequence[Axes], bars: _Bars, slots: float) -> None:
    """Shares of class centers on the left, probabilities of the fine head on the right; `slots` bars fit."""
    places = range(len(bars.names))
    halves = ((bars.attention, f"{bars.title}\nattention"), (bars.fine, f"\n{FINE} head"))
    for axes, (values, title) in zip(pair, halves, strict=True):
        drawn = axes.barh(places, values, color=bars.colors, edgecolor="black", linewidth=0.5)
        axes.bar_label(drawn, [f"{percent(value)} %" for value in values], padding=2, fontsize=7)
        axes.set_title(title, loc="left")
        axes.set(xlim=(0, 1.5), ylim=(slots - 0.5, -0.5), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    pair[0].set_yticks(places, bars.names)
    pair[0].tick_params(axis="y", length=0)


def _draw_maps(
    figure: Figure | SubFigure,
    inspection: Inspection,
    shown: Sequence[int],
    columns: int,
    width: float,
    classes: ClassSet,
) -> None:
    """`width`: inches of a map."""
    grid = figure.add_gridspec(math.ceil(len(shown) / columns), columns)
    drawn = []
    for place, label in enumerate(shown):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        title = textwrap.fill(panels.class_name(classes, label, 32), int(13 * width))
        shares = inspection.probabilities[COARSE][..., label]
        drawn.append(panels.show_map(axes, shares, inspection.size, inspection.grid, title, vmin=0, vmax=1))
    style = {"format": PercentFormatter(1, symbol=" %"), "fraction": 0.03, "pad": 0.01, "aspect": 25}
    figure.colorbar(drawn[0], ax=[image.axes for image in drawn], label="attention", **style)


def _write_number(axes: Axes, pixel: tuple[int, int], number: int, size: tuple[int, int]) -> None:
    """Beside the cross, towards the middle of the image."""
    (x, y), (height, width) = pixel, size
    aside = (8 if x < width / 2 else -8, -8 if y < height / 2 else 8)
    style = {"color": "white", "fontweight": "bold", "path_effects": [withStroke(linewidth=2, foreground="black")]}
    axes.annotate(str(number), pixel, aside, textcoords="offset points", ha="center", va="center", **style)
