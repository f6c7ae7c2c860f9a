"""The attention figure shows the coarse probabilities: as bars at chosen pixels, as maps of chosen classes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from acfnet_tf.errors import UserError
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization.attention import draw_attention
from acfnet_tf.visualization.inspection import Inspection, Inspector
from acfnet_tf.visualization.panels import Run, to_array
from tests.visualization.networks import tiny_run

N = 30
CLASSES = numbered_classes(N)
IMAGE = np.random.default_rng(0).integers(0, 256, (33, 49, 3), np.uint8)
PICTURE = Picture("street", IMAGE)


def tiny(class_feature: str | None, classes: int = N) -> Run:
    return tiny_run("tiny", num_classes=classes, class_feature=class_feature)


@pytest.fixture(scope="module")
def run() -> Run:
    return tiny("acf_sum")


@pytest.fixture(scope="module")
def inspection(run) -> Inspection:
    return Inspector(run.predictor.model)(IMAGE)


def maps(figure: Figure) -> dict[str, np.ndarray]:
    """Of the axes with a feature map, by title."""
    return {axes.get_title(): np.asarray(axes.images[0].get_array())[1:-1, 1:-1] for axes in map_axes(figure)}


def map_axes(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.images and axes.images[0].get_array().ndim == 2]


def bars(figure: Figure) -> list[tuple[list[str], list[float], list[float]]]:
    """Of each pixel the names, the attention and the probabilities of the fine head."""
    charts = [axes for axes in figure.axes if axes.patches and axes.get_title(loc="left")]
    return [
        (
            [label.get_text() for label in left.get_yticklabels()],
            *([patch.get_width() for patch in axes.patches] for axes in (left, right)),
        )
        for left, right in zip(charts[::2], charts[1::2], strict=True)
    ]


def test_maps_of_chosen_classes_in_one_range(run, inspection):
    figure = draw_attention(run, PICTURE, [], [7, 0], CLASSES)
    found = maps(figure)
    assert list(found) == ["class_7", "class_0"]
    for label in (7, 0):
        np.testing.assert_array_equal(found[f"class_{label}"], inspection.probabilities["coarse"][..., label])
    assert {axes.images[0].get_clim() for axes in map_axes(figure)} == {(0, 1)}
    assert bars(figure) == []


def test_maps_of_the_classes_that_are_attended_to(run, inspection):
    shares = inspection.probabilities["coarse"]
    found = list(maps(draw_attention(run, PICTURE, [], None, CLASSES)))
    attended = [label for label in range(N) if shares[..., label].max() > 0.05]
    attended.sort(key=lambda label: -shares[..., label].sum())
    assert found == [CLASSES.names[label] for label in attended[:12]]


def test_where_no_class_stands_out_maps_are_drawn_all_the_same():
    run = tiny("acf_sum")
    logits = run.predictor.model.get_layer("coarse_logits")
    logits.set_weights([np.zeros_like(weights) for weights in logits.get_weights()])
    found = maps(draw_attention(run, PICTURE, [], None, CLASSES))
    assert len(found) == 12
    assert all(np.allclose(shares, 1 / N) for shares in found.values())


def test_bars_at_the_pixels(run, inspection):
    pixels = [(48, 32), (3, 20), (30, 0)]
    figure = draw_attention(run, PICTURE, pixels, None, CLASSES)
    for (x, y), (names, attention, fine) in zip(pixels, bars(figure), strict=True):
        at_cell = [inspection.probabilities[head][inspection.cell((x, y))] for head in ("coarse", "fine")]
        *named, others = names
        assert others == "others"
        labels = [CLASSES.names.index(name) for name in named]
        for shown, expected in zip((attention, fine), at_cell, strict=True):
            np.testing.assert_allclose(shown[:-1], expected[labels], atol=1e-6)
            np.testing.assert_allclose(sum(shown), 1, atol=1e-5)
            assert expected.argmax() in labels
        assert attention[:-1] == sorted(attention[:-1], reverse=True)
        assert len(names) <= 7
    image = figure.axes[0]
    assert {tuple(line.get_xydata()[0]) for line in image.lines} == set(pixels)
    assert [text.get_text() for text in image.texts] == ["1", "2", "3"]
    assert "pixel 2 (3, 20)\nattention" in [axes.get_title(loc="left") for axes in figure.axes]


def test_two_classes_have_no_others():
    run, one = tiny("acf_concat", 2), Picture("one", np.full((1, 1, 3), 99, np.uint8))
    figure = draw_attention(run, one, [(0, 0)], None, numbered_classes(2))
    ((names, attention, fine),) = bars(figure)
    assert sorted(names) == ["class_0", "class_1"]
    np.testing.assert_allclose([sum(attention), sum(fine)], 1, atol=1e-6)
    assert to_array(figure, 30).ndim == 3


def test_bars_wear_the_colours_of_their_classes(run):
    figure = draw_attention(run, PICTURE, [(3, 20)], [0], CLASSES)
    left = figure.axes[1]
    for label, patch in zip(left.get_yticklabels()[:-1], left.patches, strict=False):
        color = np.divide(CLASSES.colors[CLASSES.names.index(label.get_text())], 255)
        np.testing.assert_allclose(patch.get_facecolor()[:3], color)


@pytest.mark.parametrize(
    ("class_feature", "problem"), [(None, "has no class centers"), ("class_center", "the same class centers")]
)
def test_runs_without_attention_are_refused(class_feature, problem):
    with pytest.raises(UserError, match=f"^tiny .*{problem}: attention exists in ACF runs"):
        draw_attention(tiny(class_feature), PICTURE, [], None, CLASSES)
