"""What all figures share: style, pictures on axes, a legend of classes, PNG and PDF files.

Figures are drawn without pyplot, so that nothing is kept after them and no display is asked for.
"""

from __future__ import annotations

import functools
import io
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.files import writing
from acfnet_tf.heads import COARSE, FINE
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers.resize import Grid
from acfnet_tf.tables import letters_wide
from acfnet_tf.visualization.palette import colorize, resized

ORANGE, BLUE = "#E69F00", "#0072B2"
"""Of Okabe and Ito's palette, which colour-blind people tell apart."""
HEAD_COLORS = {COARSE: ORANGE, FINE: BLUE}
HOT = "inferno"
"""Colour map of values where more is hotter; its lightness grows evenly, for colour-blind people and in print."""
PANEL_WIDTH = 2.2
"""Inches."""
PANEL_PIXELS = 880
"""A picture is drawn with no more columns than these."""
MOST_PIXELS = 32_000
"""In width or height of a figure; matplotlib draws no more than 65536. Larger figures are less fine."""
CAPTION_SIZE = 7
ABOVE_CAPTIONS = 17
"""Points."""
_LONGEST_NAME = 251
"""Bytes of a file's name, where ".png" shall follow; file systems take 255."""
_GAP = 0.05
"""Inches between pictures."""
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "figure.dpi": 100,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # letters stay letters, as publishers ask
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with dollar signs is no formula
}
_FONT = "DejaVu Sans"
"""This one comes with matplotlib."""
_MORE_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans",
    "Arial Unicode MS", "Unifont",
)  # fmt: skip
"""For what it lacks, as Chinese, Japanese and Korean; those that a system has."""


class Run(NamedTuple):
    """A trained model under the name that figures call it by."""

    name: str
    predictor: Predictor


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of what draws or saves figures: in the style of this package, whatever matplotlib is set to."""

    @functools.wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        style = {**_STYLE, "font.family": _fonts(), "backend": "agg"}
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **style}):
            return draw(*args, **kwargs)

    return wrapper


def grid(
    rows: int, columns: int, aspect: float | Sequence[float], panel_width: float = PANEL_WIDTH
) -> tuple[Figure, np.ndarray]:
    """A figure for pictures side by side.

    Args:
        aspect: height / width of the pictures, of all or of each row.
        panel_width: inches of a picture.

    Returns:
        The figure and its axes, (rows, columns) of `Axes`.
    """
    aspects = np.broadcast_to(aspect, rows).clip(0.2, 5)  # a picture may be a line
    figure = close_together(columns * panel_width, (panel_width * aspects + 0.1).sum() + 0.6)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=aspects)


def close_together(width: float, height: float, pad: float = 0.02) -> Figure:
    """A figure, in inches, whose axes leave little room between them."""
    figure = Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=pad, h_pad=pad, wspace=pad / 2, hspace=pad / 2)
    return figure


@styled
def fit(figure: Figure, axes: np.ndarray, right: float = 0) -> None:
    """Places a `grid` of pictures as close as titles and legend let them; the figure becomes as high as they need.

    To be called when all is drawn. Constrained layout leaves gaps: it shares out a fixed height.

    Args:
        right: inches of the figure's width that are left free beside the grid, as for a colour bar.
    """
    figure.set_layout_engine("none")
    rows, columns = axes.shape
    width, height = figure.get_size_inches()
    across = (width - right) / columns
    panel = across - _GAP
    heights = panel * np.array(axes[0, 0].get_gridspec().get_height_ratios())
    above = []
    for row, inches in zip(axes, heights, strict=True):
        for each in row:
            each.set_position((0, 0, panel / width, inches / height))
        bounds = filter(None, (each.get_tightbbox() for each in row))
        above.append(max(each.y1 for each in bounds) / figure.dpi - inches)
    legend = max((each.get_window_extent().y1 for each in figure.legends), default=0) / figure.dpi
    height = sum(above) + sum(heights) + _GAP * (rows + 1) + legend
    figure.set_figheight(height)
    bottom = height
    for row, inches, titles in zip(axes, heights, above, strict=True):
        bottom -= _GAP + titles + inches
        for column, each in enumerate(row):
            left = column * across + _GAP / 2
            each.set_position((left / width, bottom / height, panel / width, inches / height))


def show_image(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """An image (H, W, 3) uint8, smoothly scaled down where it is wider than `PANEL_PIXELS`."""
    _show(axes, _fitting(image), image.shape[:2], title, "auto")


def show_labels(axes: Axes, labels: np.ndarray, classes: ClassSet, title: str = "") -> None:
    """Labels (H, W) in the colours of their classes, those that are no class in black; colours are never mixed."""
    _show(axes, colorize(_fitting(labels), classes.colors), labels.shape, title, "nearest")


def show_map(
    axes: Axes, values: np.ndarray, size: tuple[int, int], grid: Grid, title: str = "", **settings: Any
) -> Any:
    """A feature-sized map laid over the axes of its image; beyond its first and last rows and columns these go on.

    Args:
        values: (h, w).
        size: (H, W) of the image.
        grid: the pixels on which the values stand.
        settings: of `Axes.imshow`, such as vmin and vmax.

    Returns:
        What `Figure.colorbar` wants.
    """
    first = grid.offset - 1.5 * grid.stride
    bottom, right = (first + grid.stride * (count + 2) for count in values.shape)
    settings = {"cmap": HOT, "interpolation": "bilinear"} | settings
    values = np.pad(values, 1, mode="edge")
    drawn = axes.imshow(values, extent=(first, right, bottom, first), **settings)
    _frame(axes, size, title)
    return drawn


def caption(axes: Axes, text: str) -> None:
    """A small line between a picture and its title (which then wants `pad=ABOVE_CAPTIONS`), shortened to fit."""
    place = {"xytext": (0, 3), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(shorten(text, 36), (0.5, 1), ha="center", fontsize=CAPTION_SIZE, **place)


def mark(axes: Axes, pixel: tuple[int, int]) -> None:
    """A cross at a pixel (x, y), seen on any ground."""
    for color, size, width in (("black", 9, 3.5), ("white", 8, 1.5)):
        axes.plot(*pixel, marker="x", color=color, markersize=size, markeredgewidth=width, clip_on=False)


def class_legend(figure: Figure, classes: ClassSet, labels: Iterable[int], more: Sequence[Artist] = ()) -> None:
    """The names and colours of these labels below the figure; those that are no class are "ignored".

    Args:
        more: what else the legend explains, after them.
    """
    labels = sorted({min(int(label), len(classes)) for label in labels})
    colors = (*classes.colors, (0, 0, 0))
    outline = {"edgecolor": "black", "linewidth": 0.4}
    patches = [
        Patch(facecolor=np.divide(colors[label], 255), label=class_name(classes, label, 32), **outline)
        for label in labels
    ]
    patches += more
    lengths = [letters_wide(patch.get_label()) + 6 for patch in patches]
    letters = 14 * figure.get_figwidth()
    # Matplotlib deals them to the columns as `array_split` does.
    columns = max(
        n for n in range(1, len(patches) + 1) if n == 1 or sum(map(max, np.array_split(lengths, n))) < letters
    )
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, handlelength=1.2, columnspacing=1.2)


def shorten(name: str, letters: int, instead: str | None = None) -> str:
    """A name as figures show it.

    The middle is left out where it is longer than this: begin and end tell the most.

    Args:
        instead: what stands there where no font here has all its letters. None: "?" for each of those.
    """
    name = " ".join(name.split())
    if instead and not _drawable().issuperset(map(ord, name)):
        return instead
    name = "".join(letter if ord(letter) in _drawable() else "?" for letter in name)
    if letters_wide(name) <= letters:
        return name
    begin = end = ""
    for first, last in zip(name, reversed(name), strict=True):
        if letters_wide(begin + first + last + end) > letters - 1:
            break
        begin, end = begin + first, last + end
    return f"{begin}…{end}"


def class_name(classes: ClassSet, label: int, letters: int) -> str:
    """`shorten` of a class's name; "class 3" where no font here has its letters, "ignored" for what is no class."""
    return shorten((*classes.names, "ignored")[min(label, len(classes))], letters, f"class {label}")


@functools.cache
def _fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return [_FONT, *(font for font in _MORE_FONTS if font in installed)]


@functools.cache
def _drawable() -> frozenset[int]:
    """The code points that one of the fonts has."""
    files = (font_manager.findfont(font, fallback_to_default=False) for font in _fonts())
    return frozenset().union(*(font_manager.get_font(file).get_charmap() for file in files))


@styled
def save(figure: Figure, stem: Path) -> Path:
    """Writes STEM.png and STEM.pdf, whole or not at all; makes the folder if needed. Returns the PNG.

    A name that is too long for a file is cut in the middle.

    Raises:
        UserError: they cannot be written.
    """
    name = os.fsencode(stem.name)
    if len(name) > _LONGEST_NAME:
        begin, end = (part.decode(errors="ignore") for part in (name[:150], name[-50:]))
        stem = stem.with_name(f"{begin}…{zlib.crc32(name):08x}…{end}")
    for form in ("pdf", "png"):
        file = stem.with_name(f"{stem.name}.{form}")
        with writing(file) as partial:
            partial.write_bytes(to_bytes(figure, form, 300))
    return stem.with_name(f"{stem.name}.png")


@styled
def to_array(figure: Figure, dpi: int = 150) -> np.ndarray:
    """The figure as a picture (H, W, 3) uint8."""
    figure.set_dpi(_possible(figure, dpi))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@styled
def to_bytes(figure: Figure, form: str, dpi: int = 150) -> bytes:
    """The figure as a file's content, "png" or "svg"."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=_possible(figure, dpi))
    return buffer.getvalue()


def _possible(figure: Figure, dpi: float) -> float:
    """No more than gives `MOST_PIXELS`."""
    return min(dpi, MOST_PIXELS / max(figure.get_size_inches()))


def _fitting(pixels: np.ndarray) -> np.ndarray:
    """An image or labels with no more columns than `PANEL_PIXELS`."""
    height, width = pixels.shape[:2]
    if width <= PANEL_PIXELS:
        return pixels
    return resized(pixels, (max(1, round(height * PANEL_PIXELS / width)), PANEL_PIXELS))


def _show(axes: Axes, picture: np.ndarray, size: tuple[int, int], title: str, interpolation: str) -> None:
    """Axes count the image's own pixels, of which there are `size`, whatever the picture was scaled to."""
    height, width = size
    axes.imshow(picture, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation=interpolation)
    _frame(axes, size, title)


def _frame(axes: Axes, size: tuple[int, int], title: str) -> None:
    height, width = size
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[], title=title)
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)
