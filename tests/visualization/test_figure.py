"""What all figures share: files whole in both formats, whatever matplotlib is set to, and never too large to draw."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from acfnet_tf.data.classes import numbered_classes
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


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (1, 1), (2, 1)])
def test_corners_of_a_map_lie_on_the_corners_of_its_image(rows: int, columns: int) -> None:
    figure, axes = grid(1, 1, 1.0)
    height, width = 41, 81
    drawn = show_map(axes[0, 0], np.zeros((rows, columns)), (height, width))
    left, right, bottom, top = drawn.get_extent()
    cell_width, cell_height = (right - left) / columns, (bottom - top) / rows
    first, last = (left + cell_width / 2, top + cell_height / 2), (right - cell_width / 2, bottom - cell_height / 2)
    centre = ((width - 1) / 2, (height - 1) / 2)
    expected = [(0, width - 1) if columns > 1 else centre[:1] * 2, (0, height - 1) if rows > 1 else centre[1:] * 2]
    assert [first[0], last[0]] == pytest.approx(expected[0], abs=0.5)
    assert [first[1], last[1]] == pytest.approx(expected[1], abs=0.5)
    assert figure.axes[0].get_ylim() == (height - 0.5, -0.5)


def test_names_are_shortened_in_the_middle() -> None:
    assert shorten("frankfurt", 9) == "frankfurt"
    assert shorten("frankfurt_000294", 9) == "fran…0294"
