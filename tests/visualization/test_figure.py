"""What all figures share: files whole in both formats, whatever matplotlib is set to, and never too large to draw."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from acfnet_tf.data.classes import numbered_classes
from acfnet_tf.layers.resize import Grid
from acfnet_tf.visualization.figure import (
    MOST_PIXELS,
    class_legend,
    fit,
    grid,
    save,
    shorten,
    show_labels,
    show_map,
    styled,
    to_array,
    to_bytes,
)


@styled
def draw_labels() -> Figure:
    classes = numbered_classes(3)
    figure, axes = grid(1, 1, 0.5)
    show_labels(axes[0, 0], np.eye(3, dtype=np.uint8).repeat(2, axis=1), classes, "labels")
    class_legend(figure, classes, [0, 1])
    fit(figure, axes)
    return figure


def test_png_and_pdf(tmp_path: Path) -> None:
    file = save(draw_labels(), tmp_path / "new" / "a.b")
    assert file == tmp_path / "new" / "a.b.png"
    assert sorted(each.name for each in file.parent.iterdir()) == ["a.b.pdf", "a.b.png"]
    assert Image.open(file).width == pytest.approx(2.2 * 300, abs=1)
    assert (tmp_path / "new" / "a.b.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in to_bytes(draw_labels(), "svg")


def test_the_users_settings_of_matplotlib_change_nothing() -> None:
    plain = to_array(draw_labels())
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red", "savefig.bbox": "tight"}):
        np.testing.assert_array_equal(to_array(draw_labels()), plain)
        assert matplotlib.rcParams["font.size"] == 30


def test_a_figure_of_hundreds_of_rows_is_drawn_less_fine(tmp_path: Path) -> None:
    figure = Figure((0.2, 400))
    assert to_array(figure).shape[0] == pytest.approx(MOST_PIXELS, abs=1)
    assert Image.open(save(figure, tmp_path / "long")).height == pytest.approx(MOST_PIXELS, abs=1)


@pytest.mark.parametrize("size", [(41, 81), (48, 96), (47, 1), (1, 90)])
@pytest.mark.parametrize("places", [Grid(8), Grid(16, 14.5)])
def test_a_map_lies_on_the_pixels_on_which_its_values_stand(size: tuple[int, int], places: Grid) -> None:
    figure, axes = grid(1, 1, 1.0)
    values = np.arange(np.prod(counts := [math.ceil(length / places.stride) for length in size])).reshape(counts)
    drawn = show_map(axes[0, 0], values, size, places)
    left, right, bottom, top = drawn.get_extent()
    shown = np.asarray(drawn.get_array())
    for first, last, count, length in ((top, bottom, len(shown), size[0]), (left, right, len(shown[0]), size[1])):
        cell = (last - first) / count
        assert (cell, first + 1.5 * cell) == places
        assert first <= -0.5 and last >= length - 0.5, "the map covers the image"
    np.testing.assert_array_equal(shown, np.pad(values, 1, mode="edge"))
    assert figure.axes[0].get_ylim() == (size[0] - 0.5, -0.5)


def test_names_are_shortened_in_the_middle() -> None:
    assert shorten("frankfurt", 9) == "frankfurt"
    assert shorten("frankfurt_000294", 9) == "fran…0294"
