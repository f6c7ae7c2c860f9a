"""Every kind of figure becomes PNG and PDF files; a user's mistakes are one clear line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.visualization.panels import Run
from acfnet_tf.visualization.visualize import IMAGES, parse_pixel, visualize
from tests.visualization.networks import tiny_run


@pytest.fixture(scope="module")
def acf() -> Run:
    return tiny_run("acf")


@pytest.fixture(scope="module")
def baseline() -> Run:
    return tiny_run("baseline", class_feature=None)


@pytest.fixture(scope="module")
def samples(tiny_scenes) -> list[Sample]:
    return list_samples(tiny_scenes, "val")


def image_sample(folder, width: int, height: int) -> Sample:
    file = folder / f"{width}x{height}.png"
    Image.new("RGB", (width, height), (90, 120, 60)).save(file)
    return Sample(file.stem, str(file), None)


FILES = {
    "results": ["{0}_results", "{1}_results", "results"],
    "similarity": ["{0}_similarity"],
    "centers": ["centers", "{0}_centers", "{1}_centers"],
    "attention": ["{0}_attention"],
    "errors": ["errors_classes", "errors_confusion", "errors_worst"],
}


@pytest.mark.parametrize("what", IMAGES)
def test_every_kind_is_drawn_as_png_and_pdf(what, acf, baseline, samples, tmp_path):
    files = visualize(what, [baseline, acf], samples, CITYSCAPES, tmp_path, pixels=["100,40"], class_names=["road"])
    expected = {name.format(*(sample.name for sample in samples)) for name in FILES[what]}
    assert {file.name for file in files} == {f"{name}.png" for name in expected}
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{name}.{form}" for name in expected for form in ("png", "pdf")
    }
    for file in files:
        assert np.asarray(Image.open(file)).std() > 5
        assert file.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("what", ["results", "similarity", "attention"])
def test_an_image_of_one_pixel(what, acf, tmp_path):
    sample = image_sample(tmp_path, 1, 1)
    (file,) = visualize(what, [acf], [sample], CITYSCAPES, tmp_path / "figures", pixels=["0,0"])
    assert Image.open(file).width > 100


@pytest.mark.parametrize("what", ["results", "similarity", "centers", "attention"])
def test_too_large_an_image_is_refused_before_it_is_decoded(what, acf, tmp_path):
    sample = image_sample(tmp_path, 8000, 6000)
    with pytest.raises(DataError, match=r"8000x6000.png: 8000×6000 are more than 33,554,432 pixels"):
        visualize(what, [acf], [sample], CITYSCAPES, tmp_path / "figures", pixels=["0,0"], max_pixels=2**25)
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("what", ["results", "centers"])
def test_an_image_that_cannot_be_read_does_not_stop_the_others(what, acf, samples, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad = Sample("bad", str(tmp_path / "bad.png"), None)
    with pytest.raises(UserError, match=r"figures failed; the others are done:\n.*bad.png: not an image"):
        visualize(what, [acf], [bad, samples[0]], CITYSCAPES, tmp_path / "figures")
    assert sorted(file.stem for file in tmp_path.glob("figures/*.png")) == [f"{samples[0].name}_{what}"]


def test_a_figure_that_cannot_be_written_does_not_stop_the_others(acf, samples, tmp_path):
    (tmp_path / f"{samples[0].name}_results.png").mkdir()
    with pytest.raises(UserError, match=rf"1 of 3 figures failed.*\n.*{samples[0].name}_results.png: Is a directory"):
        visualize("results", [acf], samples[:2], CITYSCAPES, tmp_path)
    assert {"results.png", f"{samples[1].name}_results.png"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize(("text", "pixel"), [("250,120", (250, 120)), ("(3, 0)", (3, 0)), (" 0 ,0 ", (0, 0))])
def test_a_pixel(text, pixel):
    assert parse_pixel(text) == pixel


@pytest.mark.parametrize("text", ["", "250", "250;120", "-1,5", "1.5,2", "1,2,3", "x,y"])
def test_what_is_no_pixel(text):
    with pytest.raises(UserError, match=r"--pixel=.*expected x,y"):
        parse_pixel(text)


@pytest.mark.parametrize("what", ["similarity", "attention"])
def test_a_pixel_outside_of_the_image(what, acf, samples, tmp_path):
    message = rf"pixel 128,0 lies outside of {samples[0].name}, which is 128×64: x goes from 0 to 127"
    with pytest.raises(UserError, match=message):
        visualize(what, [acf], samples, CITYSCAPES, tmp_path, pixels=["127,63", "128,0"])


def test_similarity_wants_a_pixel(acf, samples, tmp_path):
    with pytest.raises(UserError, match=r"wants a pixel, such as --pixel=64,32: x from 0"):
        visualize("similarity", [acf], samples, CITYSCAPES, tmp_path)


def test_a_class_that_there_is_not(acf, samples, tmp_path):
    with pytest.raises(UserError, match=r"--classes: no class 'raod'. Did you mean: road"):
        visualize("attention", [acf], samples, CITYSCAPES, tmp_path, class_names=["raod"])


@pytest.mark.parametrize("what", ["centers", "attention"])
def test_a_run_without_class_centers(what, baseline, samples, tmp_path):
    with pytest.raises(UserError, match="baseline has no class centers"):
        visualize(what, [baseline], samples, CITYSCAPES, tmp_path, pixels=["1,1"])


def test_errors_want_masks(acf, samples, tmp_path):
    with pytest.raises(UserError, match="wants images with masks"):
        visualize("errors", [acf], [image_sample(tmp_path, 32, 16)], CITYSCAPES, tmp_path)


def test_no_images(acf, tmp_path):
    with pytest.raises(UserError, match="no images"):
        visualize("results", [acf], [], CITYSCAPES, tmp_path)
