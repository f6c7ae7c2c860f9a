"""Tables of the page."""

from __future__ import annotations

import re

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.layers.resize import Grid
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization.changes import WITH_TRUTH, WITHOUT_TRUTH, Changes
from acfnet_tf.visualization.explore import tables
from acfnet_tf.visualization.explore.analysis import Analysis, Probe
from acfnet_tf.visualization.panels import Run


def cells(table: str) -> list[list[str]]:
    """The text of a table, row by row."""
    rows = re.findall("<tr>(.*?)</tr>", table)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_areas_of_two_runs():
    labels = np.uint8([[0, 0, 0, 1]])
    analysis = Analysis(
        Picture("a", np.zeros((1, 4, 3), np.uint8)), ({"fine": labels, "coarse": 1 - labels}, {"fine": labels})
    )
    found = cells(tables.area_table(analysis, [Run("acf", None), Run("base", None)], numbered_classes(3)))
    assert found == [
        ["class", "acf coarse", "acf fine", "base"],
        ["&nbsp;class_0", "25.0 %", "75.0 %", "75.0 %"],
        ["&nbsp;class_1", "75.0 %", "25.0 %", "25.0 %"],
    ]


def test_a_pixels_classes_largest_first():
    many = np.linspace(0, 1, 150)
    found = cells(
        tables.probe_table(Probe({}, {"coarse": many, "fine": many[::-1]}, many / 2, Grid(8)), numbered_classes(150))
    )
    assert found[0] == ["class", "attention", "coarse", "fine"]
    assert len(found) == 1 + tables.MOST_CLASSES
    assert found[1] == ["&nbsp;class_0", "0.0 %", "0.0 %", "100.0 %"]
    single = cells(tables.probe_table(Probe({}, {"fine": many}, None, Grid(8)), numbered_classes(150)))
    assert single[:2] == [["class", "probability"], ["&nbsp;class_149", "100.0 %"]]


def test_names_are_text():
    classes = ClassSet(("<script>",), ((1, 2, 3),), {0: 0})
    assert "<script>" not in tables.probe_table(Probe({}, {"fine": np.ones(1)}, None, Grid(8)), classes)


def test_differences_with_and_without_truth():
    without = Changes(np.uint8([[0, 0, 0, 4]]), WITHOUT_TRUTH)
    assert re.sub("<.*?>", "", tables.change_legend(without)) == "different 25.0 %"
    assert "corrected by fine 50.0 %" in tables.change_legend(Changes(np.uint8([[0, 1, 5]]), WITH_TRUTH))
