"""Evaluation counts every head over every sample and refuses what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES, LABEL_IDS
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.reports.boundary import BoundaryCounts, near_boundaries
from acfnet_tf.reports.scores import iou_of_images


class RedIsTheClass:
    """Stands in for a predictor: the fine label is the red channel, the coarse label is always 0."""

    heads, num_classes = ("fine", "coarse"), 19

    def labels(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return {"fine": image[..., 0], "coarse": np.zeros(image.shape[:2], np.uint8)}


def make_sample(folder, name: str, truth: np.ndarray) -> Sample:
    image, label = folder / f"{name}.png", folder / f"{name}_labelIds.png"
    Image.fromarray(np.repeat(truth[..., None], 3, axis=2)).save(image)
    Image.fromarray(LABEL_IDS[truth]).save(label)
    return Sample(name, str(image), str(label))


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(4, 6), (9, 5), (1, 1)]
    return [make_sample(tmp_path, f"s{i}", rng.integers(0, 19, size).astype(np.uint8)) for i, size in enumerate(sizes)]


def test_every_head_over_every_sample(samples):
    matrices = evaluate(RedIsTheClass(), samples, CITYSCAPES, progress=False).matrices
    assert list(matrices) == ["fine", "coarse"]
    assert all(matrix.counts.sum() == 4 * 6 + 9 * 5 + 1 for matrix in matrices.values())
    assert matrices["fine"].mean_iou() == 1.0
    assert matrices["coarse"].mean_iou() < 0.1


def test_every_image_has_its_own_counts(samples):
    evaluation = evaluate(RedIsTheClass(), samples, CITYSCAPES, progress=False)
    for head, matrix in evaluation.matrices.items():
        images = evaluation.images[head]
        assert images.shape == (3, 19, 3) and images.dtype == np.int64
        np.testing.assert_array_equal(images[..., 1].sum(axis=1), [4 * 6, 9 * 5, 1])
        np.testing.assert_array_equal(images.sum(axis=0), matrix.class_pixels())
    np.testing.assert_array_equal(iou_of_images(evaluation.images["fine"]), [1, 1, 1])


def test_boundaries_are_counted_where_widths_are_given(samples):
    assert not evaluate(RedIsTheClass(), samples, CITYSCAPES, progress=False).others
    evaluation = evaluate(RedIsTheClass(), samples, CITYSCAPES, make_counts=near_boundaries((2, 1)), progress=False)
    found = evaluation.others
    assert evaluation.sizes.tolist() == [[4, 6], [9, 5], [1, 1]]
    expected = BoundaryCounts(19, (1, 2))
    for image, label in (load_sample(sample, CITYSCAPES) for sample in samples):
        expected.update(label, RedIsTheClass().labels(image)["coarse"])
    np.testing.assert_array_equal(found["coarse"].counts, expected.counts)
    assert np.nanmin(found["fine"].boundary_iou(1)) == 1
    with pytest.raises(UserError, match="boundary_widths"):
        evaluate(RedIsTheClass(), samples, CITYSCAPES, make_counts=near_boundaries((0,)), progress=False)


def test_what_counting_trips_over_is_raised(samples):
    class WrongSize(RedIsTheClass):
        def labels(self, image):
            return {head: labels[1:] for head, labels in super().labels(image).items()}

    for some in (samples, samples[:1]):
        with pytest.raises(ValueError, match="shape"):
            evaluate(WrongSize(), some, CITYSCAPES, progress=False)


def test_stops_after_the_image_at_which_it_is_told_to(samples):
    answers = iter([False, True])
    evaluation = evaluate(RedIsTheClass(), samples, CITYSCAPES, progress=False, stop=lambda: next(answers))
    np.testing.assert_array_equal(evaluation.images["fine"][..., 1].sum(axis=1), [4 * 6, 9 * 5, 0])


def test_shows_progress(samples, capsys):
    evaluate(RedIsTheClass(), samples, CITYSCAPES)
    assert "Evaluating" in capsys.readouterr().err


def test_errors(samples, tmp_path):
    with pytest.raises(UserError, match="no samples"):
        evaluate(RedIsTheClass(), [], CITYSCAPES, progress=False)
    with pytest.raises(UserError, match="19 classes, the data have 3"):
        evaluate(RedIsTheClass(), samples, ClassSet(("a", "b", "c"), default_colors(3), {}), progress=False)
    with pytest.raises(DataError, match=r"gone\.png"):
        evaluate(
            RedIsTheClass(),
            [*samples, Sample("x", str(tmp_path / "gone.png"), samples[0].label)],
            CITYSCAPES,
            progress=False,
        )
