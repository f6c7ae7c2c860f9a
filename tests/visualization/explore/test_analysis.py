"""What the page says of pixels is what the networks say; bad images are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import EvaluationConfig
from acfnet_tf.errors import UserError
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization.explore.analysis import analyze, areas, occurring, probe, read_upload
from acfnet_tf.visualization.inspection import Inspector
from acfnet_tf.visualization.panels import Run
from tests.visualization.networks import tiny_run


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (41, 58, 3), np.uint8)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    flipped = EvaluationConfig(flip=True)
    return [tiny_run("acf"), tiny_run("baseline", class_feature=None), tiny_run("flip", evaluation=flipped)]


def test_pixels_have_the_predictors_probabilities(runs, image):
    analysis = analyze(Picture("a", image), runs)
    expected = [run.predictor.probabilities(image) for run in runs]
    for x, y in ((0, 0), (57, 40), (13, 29)):
        analysis, probes = probe(analysis, runs, (x, y))
        assert analysis.pixel == (x, y)
        for one, probabilities in zip(probes, expected, strict=True):
            assert one.probabilities.keys() == probabilities.keys()
            for head, values in probabilities.items():
                np.testing.assert_allclose(one.probabilities[head], values[y, x], rtol=1e-4, atol=1e-6)


def test_similarity_and_attention_are_the_inspections(runs, image):
    _, (acf, baseline, _) = probe(analyze(Picture("a", image), runs), runs, (20, 10))
    inspection = Inspector(runs[0].predictor.model)(image)
    for head in ("coarse", "fine"):
        np.testing.assert_allclose(acf.similarity[head], inspection.similarity(head, (20, 10)), atol=3e-3)
    np.testing.assert_array_equal(acf.attention, inspection.probabilities["coarse"][inspection.cell((20, 10))])
    assert baseline.attention is None and list(baseline.similarity) == ["fine"]


def test_the_class_center_ablation_has_no_attention(image):
    runs = [tiny_run("centers", class_feature="class_center")]
    assert probe(analyze(Picture("a", image), runs), runs, (0, 0))[1][0].attention is None


def test_features_are_computed_once(runs, image):
    first, _ = probe(analyze(Picture("a", image), runs), runs, (0, 0))
    second, _ = probe(first, runs, (5, 5))
    assert second.inspections is first.inspections


def test_a_pixel_outside(runs, image):
    analysis = analyze(Picture("a", image), runs)
    for pixel in ((58, 0), (0, 41), (-1, 0)):
        with pytest.raises(UserError, match=r"58×41: x goes from 0 to 57, y from 0 to 40"):
            probe(analysis, runs, pixel)


def test_one_pixel(runs):
    one = np.zeros((1, 1, 3), np.uint8)
    analysis, probes = probe(analyze(Picture("a", one), runs), runs, (0, 0))
    assert analysis.labels[0]["fine"].shape == (1, 1)
    assert probes[0].similarity["fine"].shape == (1, 1)


def test_areas_and_occurring_classes(runs, image):
    analysis = analyze(Picture("a", image), runs)
    shares = areas(np.uint8([[0, 0, 2, 255]]), 3)
    np.testing.assert_array_equal(shares, [0.5, 0, 0.25])
    found = {label for by_head in analysis.labels for labels in by_head.values() for label in np.unique(labels)}
    assert occurring(analysis, 19) == sorted(found)


def test_uploads_are_read_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    picture = read_upload(str(tmp_path / "turned.jpg"), 600)
    assert picture.image.shape == (30, 20, 3) and picture.name == "turned.jpg" and picture.label is None


def test_bad_uploads(tmp_path):
    def refused(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            read_upload(str(tmp_path / name), 100)
        assert str(tmp_path) not in str(error.value)
        return str(error.value)

    assert refused("text.png", b"hello") == "text.png: not an image."
    assert refused("empty.png", b"") == "empty.png: the file is empty."
    Image.new("RGB", (30, 20)).save(tmp_path / "large.png")
    content = (tmp_path / "large.png").read_bytes()
    assert "30×20 are more than 100 pixels (explore.max_pixels)" in refused("large.png", content)
    assert "damaged or cut off" in refused("cut.png", content[:-20])
