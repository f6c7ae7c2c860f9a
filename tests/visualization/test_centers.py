"""Figures of class centers show the centers of Eq. 2, and numbers that agree with brute force."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import acfnet_tf
from acfnet_tf.errors import UserError
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers.resize import Grid
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization import center_statistics
from acfnet_tf.visualization import centers as drawing
from acfnet_tf.visualization.center_statistics import (
    balanced_choice,
    center_similarities,
    labels_of_cells,
    nearer_to_own,
    present_classes,
    principal_plane,
    scatter_ratio,
)
from acfnet_tf.visualization.centers import centers_of, draw_center_variation, draw_centers
from acfnet_tf.visualization.inspection import Inspector
from acfnet_tf.visualization.panels import Run, to_array
from acfnet_tf.visualization.point_labels import label_points
from tests import oracle

CLASSES = numbered_classes(5)


def make_run(class_feature: str | None) -> Run:
    keras.utils.set_random_seed(1)
    model = acfnet_tf.ACFNet(5, "resnet18", None, class_feature, channels=8, backbone_width=4)
    if class_feature:  # so that coarse classes differ from place to place
        head = model.get_layer("coarse_logits")
        logits = keras.Model(model.input, head.output)(np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3)))
        mean, deviation = np.mean(logits, axis=(0, 1, 2)), np.std(logits, axis=(0, 1, 2))
        head.kernel.assign(2 * head.kernel / deviation)
        head.bias.assign(-2 * mean / deviation)
    return Run("tiny", Predictor(model))


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run("acf_sum")


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    generator = np.random.default_rng(0)
    found = []
    for name in "abc":
        blocks = generator.integers(0, 256, (9, 13, 3)).astype(np.uint8)
        truth = generator.choice(np.uint8([0, 1, 2, 3, 4, 255]), (9, 13))
        found.append(Picture(name, *(part.repeat(8, 0).repeat(8, 1)[:65, :97] for part in (blocks, truth))))
    return found


def of_image(run: Run, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F' (h, w, C'), P (h, w, N) and the centers of Eq. 2, from the network's own layers by the oracle."""
    model = run.predictor.model
    head, block = model.get_layer("coarse_logits"), model.get_layer("acf").class_centers
    features, logits = keras.Model(model.input, [head.input, head.output])(image[None].astype(np.float32))
    probabilities = oracle.softmax(logits)
    centers = oracle.class_centers(features, probabilities, block.kernel, block.bias)
    return oracle.conv1x1(features, block.kernel, block.bias)[0], probabilities[0], centers[0]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def titled(figure: Figure, start: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title().startswith(start))


def test_the_matrix_holds_the_cosine_similarities_of_the_centers(run: Run, pictures: list[Picture]) -> None:
    _, probabilities, centers = of_image(run, pictures[0].image)
    present = present_classes(probabilities)
    assert len(present) >= 3
    axes = titled(draw_centers(run, pictures[0], CLASSES), "similarity")
    expected = np.array([[cosine(centers[a], centers[b]) for b in present] for a in present])
    oracle.assert_close(axes.images[0].get_array(), expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == [CLASSES.names[label] for label in present]
    assert axes.images[0].get_clim() == (-1, 1)


def test_centers_are_drawn_at_the_weighted_means_of_the_points(run: Run, pictures: list[Picture]) -> None:
    _, probabilities, _ = of_image(run, pictures[0].image)
    truth = np.zeros((65, 97), np.uint8)
    axes = titled(draw_centers(run, pictures[0]._replace(label=truth), CLASSES), "features F′")
    plain, crossed, markers = (axes.collections[index].get_offsets() for index in (0, 1, 2))
    wrong = (probabilities.argmax(axis=-1) != 0).ravel()
    assert 0 < wrong.sum() < wrong.size
    places = np.empty((wrong.size, 2))
    places[~wrong], places[wrong] = plain, crossed
    weights = probabilities.reshape(-1, 5)[:, present_classes(probabilities)]
    oracle.assert_close(markers, (weights / weights.sum(axis=0)).T @ places)
    assert f"{wrong.mean():.1%} mislabelled" in axes.get_title()


def test_points_have_the_colour_of_the_truth_and_ignored_ones_are_left_out(run: Run, pictures: list[Picture]) -> None:
    truth = np.full((65, 97), 3, np.uint8)
    truth[:, :40] = 255
    axes = titled(draw_centers(run, pictures[0]._replace(label=truth), CLASSES), "features F′")
    points = axes.collections[:2]
    assert sum(len(part.get_offsets()) for part in points) == (labels_of_cells(truth, (9, 13), Grid(8)) == 3).sum()
    for part in points:
        np.testing.assert_allclose(part.get_facecolors()[:, :3] * 255, [CLASSES.colors[3]] * len(part.get_facecolors()))


def test_variation_shows_how_often_the_own_center_is_nearer(run: Run, pictures: list[Picture]) -> None:
    found = [of_image(run, picture.image) for picture in pictures]
    truths = [labels_of_cells(picture.label, (9, 13), Grid(8)) for picture in pictures]
    present = [present_classes(probabilities) for _, probabilities, _ in found]
    expected = np.full((2, 3, 5), np.nan)
    for image, (features, _, centers) in enumerate(found):
        for label in present[image]:
            others = [found[k][2][label] for k in range(3) if k != image and label in present[k]]
            pixels = features[truths[image] == label]
            if others and len(pixels):
                expected[0, image, label] = np.mean([cosine(pixel, centers[label]) for pixel in pixels])
                expected[1, image, label] = np.mean([cosine(pixel, np.mean(others, axis=0)) for pixel in pixels])
    images = [centers_of(run, picture, 5) for picture in pictures]
    similarities = center_similarities(*(np.stack(part) for part in zip(*images, strict=True)))
    np.testing.assert_allclose(similarities, expected, atol=1e-5)
    assert np.isfinite(expected[0]).sum() >= 6

    figure = draw_center_variation(images, CLASSES)
    nearer = (expected[0] > expected[1])[np.isfinite(expected[0])].mean()
    assert f"nearer in {nearer:.0%} of cases" in titled(figure, "pixels").get_title()
    points = titled(figure, "class centers of 3 images").collections[0].get_offsets()
    shown = np.isfinite(expected[0]).any(axis=0)
    assert len(points) == sum(shown[classes].sum() for classes in present)


@pytest.mark.parametrize("kind", ["no truth", "all ignored", "one pixel", "one row", "portrait", "truth of one class"])
def test_any_picture_can_be_drawn(run: Run, pictures: list[Picture], kind: str) -> None:
    picture = pictures[0]
    image, truth = picture.image, picture.label
    changed = {
        "no truth": Picture("a", image),
        "all ignored": Picture("a", image, np.full_like(truth, 255)),
        "one pixel": Picture("a", image[:1, :1], np.zeros((1, 1), np.uint8)),
        "one row": Picture("a", image[:1], truth[:1]),
        "portrait": Picture("a", image.transpose(1, 0, 2), truth.T),
        "truth of one class": Picture("a", image, np.zeros_like(truth)),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        assert to_array(draw_centers(run, changed, CLASSES), 50).std() > 10
        assert to_array(draw_center_variation([centers_of(run, changed, 5)] * 2, CLASSES), 50).std() > 10


def test_the_class_center_ablation_has_centers(pictures: list[Picture]) -> None:
    run = make_run("class_center")
    _, probabilities, centers = of_image(run, pictures[0].image)
    axes = titled(draw_centers(run, pictures[0]._replace(label=None), CLASSES), "similarity")
    a, b = present_classes(probabilities)[:2]
    assert axes.images[0].get_array()[0, 1] == pytest.approx(cosine(centers[a], centers[b]), abs=1e-5)


def test_what_cannot_be_drawn_is_said(run: Run, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = make_run(None)
    for draw in (lambda: draw_centers(baseline, pictures[0], CLASSES), lambda: centers_of(baseline, pictures[0], 5)):
        with pytest.raises(UserError, match=r"^tiny has no class centers: .* class_feature, for example acf_aspp$"):
            draw()
    with pytest.raises(UserError, match="two images or more, not in 1"):
        draw_center_variation([centers_of(run, pictures[0], 5)], CLASSES)
    seen = iter(range(5))
    monkeypatch.setattr(center_statistics, "present_classes", lambda _: np.array([next(seen)]))
    images = [centers_of(run, picture, 5) for picture in pictures[:2]]
    with pytest.raises(UserError, match="none of the 2 images has a class in common"):
        draw_center_variation(images, CLASSES)


def test_of_many_classes_the_largest_are_shown(run: Run, pictures: list[Picture], monkeypatch) -> None:
    monkeypatch.setattr(drawing, "MAX_CLASSES", 2)
    found = Inspector(run.predictor.model)(pictures[0].image).probabilities["coarse"]
    largest = sorted(np.argsort(found.sum(axis=(0, 1)))[-2:])
    axes = titled(draw_centers(run, pictures[0], CLASSES), "similarity")
    assert axes.get_title().endswith(f"(the largest 2 of {len(present_classes(found))})")
    assert [label.get_text() for label in axes.get_yticklabels()] == [CLASSES.names[label] for label in largest]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 6))
def test_principal_plane_is_that_of_the_covariance(seed: int, rows: int, channels: int) -> None:
    features = np.random.default_rng(seed).normal(size=(rows, channels)) * np.arange(1, channels + 1)
    plane = principal_plane(features)
    values, vectors = np.linalg.eigh(np.cov(features.T, bias=True).reshape(channels, channels))
    values, vectors = np.append(values[::-1], 0)[:2], vectors.T[::-1][:2]
    total = features.var(axis=0).sum()
    np.testing.assert_allclose(plane.shares, values / total if total > 0 else [0, 0], atol=1e-9)
    for axis, vector, value in zip(plane.axes, vectors, values, strict=False):
        if value > 1e-6 * total > 0:
            assert axis[np.abs(axis).argmax()] > 0
            assert abs(axis @ vector) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(plane.place(features).var(axis=0), plane.shares * total, atol=1e-8)
    np.testing.assert_array_equal(principal_plane(features).axes, plane.axes)


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 40))
def test_balanced_choice_gives_every_class_its_part(labels: list[int], limit: int) -> None:
    labels = np.array(labels, int)
    chosen = balanced_choice(labels, limit)
    assert len(chosen) == min(limit, len(labels))
    assert (np.diff(chosen) > 0).all()
    counts, sizes = (np.bincount(part, minlength=5) for part in (labels[chosen], labels))
    for few, size in zip(counts, sizes, strict=True):
        assert few == size or few >= counts.max() - 1


def test_scatter_ratio() -> None:
    features, labels = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 3
    mean, within, between = features.mean(axis=0), 0.0, 0.0
    for feature, label in zip(features, labels, strict=True):
        center = features[labels == label].mean(axis=0)
        within, between = within + np.sum((feature - center) ** 2), between + np.sum((center - mean) ** 2)
    assert scatter_ratio(features, labels) == pytest.approx(within / between)
    assert np.isnan(scatter_ratio(features, np.zeros(40)))


def test_nearer_to_own_center() -> None:
    centers = np.array([[9.0, 0], [0, 1]])
    features = np.array([[2.0, 1], [1, 2], [3, 1], [1, 3]])
    assert nearer_to_own(features, centers, np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])) == 0.5


def test_present_classes() -> None:
    probabilities = np.zeros((40, 50, 4))
    probabilities[..., 0] = 1
    probabilities[0, 0] = (0.3, 0.4, 0.3, 0)  # class 1 is first somewhere, class 2 is not
    assert present_classes(probabilities).tolist() == [0, 1]
    probabilities[..., 2] = 0.002  # a little everywhere
    assert present_classes(probabilities).tolist() == [0, 1, 2]


def test_labels_of_cells_are_those_of_the_pixels_on_which_they_stand() -> None:
    labels = np.arange(5 * 12).reshape(5, 12)
    np.testing.assert_array_equal(labels_of_cells(labels, (2, 3), Grid(4)), [[0, 4, 8], [48, 52, 56]])
    assert labels_of_cells(labels, (1, 1), Grid(32, 14)) == [[59]]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_names_cover_neither_names_nor_points(places: list[tuple[float, float]]) -> None:
    figure = Figure((4, 3))
    axes = figure.subplots()
    figure.draw_without_rendering()
    written = label_points(axes, np.array(places), [f"name {index}" for index in range(len(places))])
    names = [text for text in axes.texts if text.get_text()]
    assert written == len(names)
    assert written == 1 or len(places) > 1
    boxes = [text.get_window_extent() for text in names]
    for index, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:index])
        assert not any(box.contains(*point) for point in axes.transData.transform(places))
