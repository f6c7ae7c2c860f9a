"""What all figures share: files whole in both formats, whatever matplotlib is set to, and never too large to draw."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.importers.colors import default_colors, numbered_classes
from acfnet_tf.layers.resize import Grid
from acfnet_tf.tables import letters_wide
from acfnet_tf.visualization.panels import (
    MOST_PIXELS,
    _drawable,
    _fonts,
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


def test_names_in_any_script_are_drawn_without_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a font that has them, or else as the number of the class."""
    names = ("道路", "道路 road", "тест", "$x$ a|b", "l\udcff", "two\nlines")
    classes = ClassSet(names, default_colors(6), {index: index for index in range(6)})

    def drawn() -> list[str]:
        figure, axes = grid(1, 1, 1)
        show_labels(axes[0, 0], np.arange(7, dtype=np.uint8)[None], classes, shorten("写真_17\udcff", 30))
        class_legend(figure, classes, range(7))
        fit(figure, axes)
        to_array(figure)
        to_bytes(figure, "pdf")
        return [text.get_text() for text in figure.legends[0].get_texts()]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        styled(drawn)()
        for remembered in (_fonts, _drawable):
            remembered.cache_clear()
        monkeypatch.setattr("acfnet_tf.visualization.panels._MORE_FONTS", ())
        try:
            shown = styled(drawn)()
            assert shorten("写真_17\udcff", 30) == "??_17?"
        finally:
            for remembered in (_fonts, _drawable):
                remembered.cache_clear()
    assert shown == ["class 0", "class 1", "тест", "$x$ a|b", "class 4", "two lines", "ignored"]


def test_wide_letters_count_twice() -> None:
    assert letters_wide("道路 a") == 6
    assert shorten("abcdefghij", 7) == "abc…hij"


def test_a_name_that_is_too_long_for_a_file_is_cut(tmp_path: Path) -> None:
    files = [save(Figure((1, 1)), tmp_path / f"{'道' * 80}{index}_results") for index in range(2)]
    assert len({*files}) == 2 and all(file.is_file() and file.name.endswith("_results.png") for file in files)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file: a file stands where a folder must be"):
        save(Figure((1, 1)), tmp_path / "file" / "a")
