"""Classes: what mask values mean, ids of any size, and colours that can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from acfnet_tf.data.cityscapes import CITYSCAPES, LABEL_IDS
from acfnet_tf.data.classes import IGNORED, ClassSet, pack_color, unpack_color
from acfnet_tf.importers.colors import default_colors


def test_cityscapes_maps_label_ids_to_train_ids() -> None:
    assert len(CITYSCAPES) == 19 and CITYSCAPES.names[0] == "road" and CITYSCAPES.names[18] == "bicycle"
    assert CITYSCAPES.table[LABEL_IDS].tolist() == list(range(19))
    assert CITYSCAPES.table[[0, 9, 29]].tolist() == [255, 255, 255]
    assert (CITYSCAPES.table[34:] == CITYSCAPES.unknown_label).all()
    assert CITYSCAPES.colors[13] == (0, 0, 142)


@pytest.mark.parametrize(("count", "ignored"), [(2, 255), (254, 255), (255, 65_535), (1000, 65_535)])
def test_labels_fit_any_number_of_classes(count: int, ignored: int) -> None:
    values = {index: index for index in range(count)} | {60_000: IGNORED}
    classes = ClassSet(tuple(map(str, range(count))), default_colors(count), values)
    assert classes.ignore_label == ignored
    assert classes.table[:count].tolist() == list(range(count))
    assert classes.table[60_000] == ignored and classes.table[count] == classes.unknown_label == ignored - 1


def test_colors_are_values_too() -> None:
    color = (1, 2, 3)
    assert unpack_color(pack_color(color)) == color
    classes = ClassSet(("a", "b"), (color, (4, 5, 6)), {pack_color(color): 0, pack_color((4, 5, 6)): 1}, "color")
    assert classes.table[[pack_color(color), pack_color((4, 5, 6)), 0]].tolist() == [0, 1, 254]
    assert classes.show_value(pack_color(color)) == "(1, 2, 3)"


@pytest.mark.parametrize("count", [1, 2, 19, 21, 150, 256, 1000])
def test_default_colors_are_distinct_and_not_black(count: int) -> None:
    colors = np.array(default_colors(count))
    assert colors.shape == (count, 3) and colors.min() >= 0 and colors.max() <= 255
    assert len(np.unique(colors, axis=0)) == count and colors.any(axis=1).all()


def test_default_colors_are_those_of_pascal_voc() -> None:
    colors = default_colors(20)
    assert [colors[i] for i in (0, 1, 2, 6, 7, 19)] == [
        (128, 0, 0), (0, 128, 0), (128, 128, 0), (128, 128, 128), (64, 0, 0), (0, 64, 128),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "[]",
        "{}",
        '{"masks": ["index"], "ignore": [], "classes": []}',
        '{"masks": "index", "ignore": [1e400], "classes": []}',
        '{"masks": "color", "ignore": [[1]], "classes": []}',
    ],
)
def test_what_is_no_text_of_classes_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ClassSet.from_json(text)
