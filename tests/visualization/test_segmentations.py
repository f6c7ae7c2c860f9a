"""Results show image, truth and every head in their columns, and which pixels the fine head corrected or spoilt."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import ImageColor

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization import changes
from acfnet_tf.visualization.panels import Run, to_array
from acfnet_tf.visualization.segmentations import draw_results

ROAD, SKY, CAR = (CITYSCAPES.names.index(name) for name in ("road", "sky", "car"))
ORANGE = (200, 100, 50)


class Constant:
    """Stands in for a predictor: fine is road everywhere, coarse is sky."""

    def __init__(self, *heads: str) -> None:
        self.heads = heads

    def labels(self, image: np.ndarray) -> dict[str, np.ndarray]:
        classes = {"fine": ROAD, "coarse": SKY}
        return {head: np.full(image.shape[:2], classes[head], np.uint8) for head in self.heads}


ACF, BASELINE = Run("acf", Constant("fine", "coarse")), Run("baseline", Constant("fine"))


def make_picture(name: str = "a", height: int = 40, width: int = 60, *, with_truth: bool = True) -> Picture:
    """Its left half is void, its right half car."""
    truth = np.full((height, width), CAR, np.uint8)
    truth[:, : width // 2] = 255
    return Picture(name, np.full((height, width, 3), ORANGE, np.uint8), truth if with_truth else None)


def titles(figure: Figure) -> list[str]:
    """Of the columns."""
    return [title for axes in figure.axes if (title := axes.get_title())]


def explained(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shares(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def color_in(figure: Figure, axes: Axes, x: float = 0.75) -> tuple[int, int, int]:
    """What is seen halfway down a panel, at a share x of its width."""
    pixels = to_array(figure)
    column, row = axes.transAxes.transform((x, 0.5))
    return tuple(pixels[int(pixels.shape[0] - row), int(column)].tolist())


def test_one_run_with_two_heads_and_truth() -> None:
    figure = draw_results([ACF], [make_picture()], CITYSCAPES)
    assert titles(figure) == ["image", "truth", "coarse", "fine", "coarse ≠ fine"]
    road, sky, car = (CITYSCAPES.colors[label] for label in (ROAD, SKY, CAR))
    seen = [color_in(figure, axes) for axes in figure.axes]
    assert seen == [ORANGE, car, sky, road, ImageColor.getrgb(changes.COLORS[changes.BOTH_WRONG])]
    assert color_in(figure, figure.axes[1], 0.25) == (0, 0, 0)
    red, green, blue = color_in(figure, figure.axes[4], 0.25)  # ignored pixels show the grey image
    assert red == green == blue > 150
    assert shares(figure.axes[4]) == ["0.0 %", "0.0 %", "100.0 %"]
    assert explained(figure) == ["road", "sky", "car", "ignored", "corrected by fine", "spoilt by fine", "both wrong"]


def test_figure_7_names_the_runs() -> None:
    figure = draw_results([BASELINE, ACF], [make_picture()], CITYSCAPES)
    assert titles(figure) == ["image", "truth", "baseline", "acf coarse", "acf fine", "acf coarse ≠ fine"]


def test_without_truth_it_is_only_said_where_the_heads_differ() -> None:
    figure = draw_results([ACF], [make_picture(with_truth=False)], CITYSCAPES)
    assert titles(figure) == ["image", "coarse", "fine", "coarse ≠ fine"]
    assert shares(figure.axes[3]) == ["100.0 %"]
    assert explained(figure) == ["road", "sky", "different"]
    figure = draw_results([BASELINE], [make_picture(with_truth=False)], CITYSCAPES)
    assert titles(figure) == ["image", "baseline"]
    assert explained(figure) == ["road"]


def test_rows_of_any_shape_stand_below_one_another_under_their_names() -> None:
    """Nothing overlaps or is cut off: pictures, titles, captions, legend."""
    long = "experiments/" + "a_run_of_a_very_long_name_" * 4
    pictures = [
        make_picture("landscape", 20, 60),
        make_picture("folder/" + "long_name_" * 9 + "end", 60, 30),
        make_picture("without truth", 1, 1, with_truth=False),
        make_picture("line", 2, 200),
        make_picture("column", 200, 2),
    ]
    figure = draw_results([Run(long, BASELINE.predictor), Run(f"{long}2", ACF.predictor)], pictures, CITYSCAPES)
    rows = np.reshape(figure.axes, (len(pictures), 6))
    names = [row[0].texts[0].get_text() for row in rows]
    assert names[0] == "landscape" and names[1].startswith("folder/") and names[1].endswith("end")
    assert len(names[1]) < 40
    assert "different" in explained(figure)
    figure.draw_without_rendering()
    tops = [max(box.y1 for axes in row if (box := axes.get_tightbbox())) for row in rows]
    bottoms = [min(axes.bbox.y0 for axes in row) for row in rows]
    assert tops[0] <= figure.bbox.height
    assert all(top < bottom for top, bottom in zip(tops[1:], bottoms[:-1], strict=True))
    assert figure.legends[0].get_window_extent().y1 <= bottoms[-1]
    across = figure.bbox.width / 6
    for axes in rows.ravel():
        box = axes.get_tightbbox()
        assert box is None or box.width <= across


def test_many_classes_of_any_names() -> None:
    """Neither dollar signs nor underscores mean anything in a name, and the legend stays inside of the figure."""
    names = tuple(f"_class {index} of $_{{many$ with a long name_" for index in range(150))
    classes = ClassSet(names, numbered_classes(150).colors, {})
    picture = Picture("$a_{$", np.zeros((10, 15, 3), np.uint8), np.arange(150, dtype=np.uint8).reshape(10, 15))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_results([BASELINE], [picture, picture], classes)
        to_array(figure)
    assert len(explained(figure)) == 150
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width


def test_no_pictures() -> None:
    with pytest.raises(UserError, match="no pictures"):
        draw_results([ACF], [], CITYSCAPES)
