"""The similarity figure shows the maps of the features, each above its segmentation, with a cross at the pixel."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from matplotlib.axes import Axes

from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization.inspection import Inspector
from acfnet_tf.visualization.palette import colorize
from acfnet_tf.visualization.panels import Run, to_array
from acfnet_tf.visualization.similarity import draw_similarity
from tests.visualization.networks import tiny_run

CLASSES = numbered_classes(4)
PIXEL = (30, 9)


@pytest.fixture(scope="module")
def acf() -> Run:
    return tiny_run("with ACF", num_classes=4)


@pytest.fixture(scope="module")
def baseline() -> Run:
    return tiny_run("baseline", num_classes=4, class_feature=None)


def picture(size: tuple[int, int] = (25, 41), labelled: bool = True) -> Picture:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, size, np.uint8)
    truth[0] = CLASSES.ignore_label
    return Picture("street", generator.integers(0, 256, (*size, 3), np.uint8), truth if labelled else None)


def drawn(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def drawn_map(axes: Axes) -> np.ndarray:
    """Without the rows and columns around it, which go on."""
    return drawn(axes)[1:-1, 1:-1]


def titles(axes: list[Axes]) -> list[str]:
    return [each.get_title() for each in axes]


def test_maps_above_segmentations(acf):
    shown = picture()
    figure = draw_similarity([acf], [(shown, PIXEL)], CLASSES)
    image, coarse, fine, truth, coarse_labels, fine_labels, colorbar = figure.axes
    assert titles(figure.axes) == [
        "pixel (30, 9): " + CLASSES.names[shown.label[9, 30]],
        "before the coarse head",
        "before the fine head",
        "truth",
        "coarse segmentation",
        "fine segmentation",
        "",
    ]
    inspection, labels = Inspector(acf.predictor.model)(shown.image), acf.predictor.labels(shown.image)
    np.testing.assert_array_equal(drawn(image), shown.image)
    np.testing.assert_array_equal(drawn(truth), colorize(shown.label, CLASSES.colors))
    for head, similarity, segmentation in (("coarse", coarse, coarse_labels), ("fine", fine, fine_labels)):
        np.testing.assert_allclose(drawn_map(similarity), inspection.similarity(head, PIXEL), atol=1e-6)
        np.testing.assert_array_equal(drawn(segmentation), colorize(labels[head], CLASSES.colors))
        assert similarity.images[0].get_clim() == (0, 1)  # of features behind a ReLU
    for panel in (image, coarse, fine, truth, coarse_labels, fine_labels):
        assert {tuple(line.get_xydata()[0]) for line in panel.lines} == {PIXEL}
        assert panel.get_xlim() == (-0.5, 40.5)
    assert colorbar.get_ylabel() == "cosine similarity"
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {*CLASSES.names, "ignored"}


def test_columns_say_which_run(acf, baseline):
    figure = draw_similarity([baseline, acf], [(picture(), PIXEL)], CLASSES)
    assert titles(figure.axes)[1:4] == [
        "baseline",
        "with ACF\nbefore the coarse head",
        "with ACF\nbefore the fine head",
    ]
    assert titles(figure.axes)[5:8] == ["segmentation", "coarse segmentation", "fine segmentation"]
    expected = Inspector(baseline.predictor.model)(picture().image).similarity("fine", PIXEL)
    np.testing.assert_allclose(drawn_map(figure.axes[1]), expected, atol=1e-6)


def test_without_truth_the_fine_head_names_the_class(acf, baseline):
    """Of the last run, the user's own; the image stands in the middle of its two lines."""
    bare = picture(labelled=False)
    figure = draw_similarity([baseline, acf], [(bare, PIXEL)], CLASSES)
    predicted = CLASSES.names[acf.predictor(bare.image)[9, 30]]
    image, above, nothing, below = (figure.axes[place] for place in (0, 1, 4, 5))
    assert image.get_title().replace("\n", " ") == f"pixel (30, 9): {predicted} (predicted)"
    assert not nothing.images and not nothing.axison
    middle = [axes.get_position(original=True).y0 for axes in (above, image, below)]
    np.testing.assert_allclose(middle[1], (middle[0] + middle[2]) / 2)


def test_a_row_for_each_pixel_and_picture(acf):
    """Of different shapes; a picture goes through the network once for all its pixels that follow each other."""
    calls, labels = [], acf.predictor.labels

    class Counting:
        model, heads, evaluation = acf.predictor.model, acf.predictor.heads, acf.predictor.evaluation

        def labels(self, image: np.ndarray) -> dict[str, np.ndarray]:
            calls.append(image.shape)
            return labels(image)

    wide, high = picture(), picture((33, 9), labelled=False)
    entries = [(wide, (0, 0)), (wide, (40, 24)), (high, (8, 32))]
    figure = draw_similarity([Run("counted", Counting())], entries, CLASSES)
    assert calls == [(25, 41, 3), (33, 9, 3)]
    for row, (shown, pixel) in enumerate(entries):
        expected = Inspector(acf.predictor.model)(shown.image).similarity("fine", pixel)
        np.testing.assert_allclose(drawn_map(figure.axes[6 * row + 2]), expected, atol=1e-6)
        assert figure.axes[6 * row].get_title().startswith(f"pixel {pixel}")
    assert figure.axes[0].get_title() == "pixel (0, 0): ignored"


def test_negative_similarities_widen_the_range_of_all_maps(acf):
    keras.utils.set_random_seed(3)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(6, 1)(keras.layers.Rescaling(1 / 128, -1)(images))  # no ReLU behind it
    logits = keras.layers.Conv2D(4, 1, name="fine_logits")(features)
    signed = Run("signed", Predictor(keras.Model(images, {"fine": logits})))
    figure = draw_similarity([signed, acf], [(picture(), PIXEL)], CLASSES)
    assert drawn(figure.axes[1]).min() < 0
    assert {figure.axes[place].images[0].get_clim() for place in (1, 2, 3)} == {(-1, 1)}


def test_one_pixel_and_long_names_can_be_drawn(acf):
    one = Picture("one", np.full((1, 1, 3), 99, np.uint8))
    run = acf._replace(name="a_name_of_a_run_that_is_much_longer_than_any_panel_is_wide")
    figure = draw_similarity([run, run], [(one, (0, 0))], CLASSES)
    assert "…" in figure.axes[1].get_title()
    assert to_array(figure, 30).ndim == 3
