"""Every exported format puts its answers on the pixels that they are about, at every size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from acfnet_tf.config import ExportConfig
from acfnet_tf.export.formats import FORMATS, open_file
from acfnet_tf.export.litert import write_litert
from acfnet_tf.export.saved_model import write_saved_model
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from tests.positions import BORDER, coordinates, expected, position_network

SIZES = [(1, 1), (2, 5), (7, 16), (24, 64), (33, 41), (50, 40), (64, 97), (63, 96)]
CLASSES = numbered_classes(2)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(position_network())


@pytest.mark.parametrize("format", FORMATS)
def test_logits_of_a_file(format: str, predictor: Predictor, tmp_path: Path) -> None:
    file = tmp_path / FORMATS[format].file.format(name="a")
    FORMATS[format].write(predictor, file, CLASSES)
    run = open_file(format, file)
    for size in SIZES:
        found = run(coordinates(*size))["logits"]
        assert np.abs(found - expected(*size, stride=8)).max() <= BORDER, size


def test_labels_and_probabilities_of_a_saved_model(predictor: Predictor, tmp_path: Path) -> None:
    """The class is 1 where y is larger than x: a diagonal, which is straight down to the last feature."""
    write_saved_model(predictor, tmp_path, "m", CLASSES, ExportConfig(probabilities=True), [coordinates(9, 9)])
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    for size in SIZES:
        image, places = coordinates(*size), expected(*size, stride=8)
        clear = np.abs(places[..., 1] - places[..., 0]) > 2 * BORDER
        labels = (places[..., 1] > places[..., 0])[clear]
        (png,) = signatures["serving_default"](image_bytes=[tf.io.encode_png(image)])["label_png_bytes"].numpy()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png)))[clear], labels)
        probabilities = signatures["predict_probabilities"](images=tf.constant(image[None]))["probabilities"][0]
        np.testing.assert_array_equal(probabilities.numpy().argmax(axis=-1)[clear], labels)


def test_logits_of_an_int8_file_for_images_larger_than_those_of_its_calibration(predictor: Predictor, tmp_path: Path):
    """Which hold all numbers of `coordinates`: their steps are 1 then, and sum up to a few pixels over the layers."""
    numbers = coordinates(250, 250)
    write_litert(predictor, tmp_path / "a.tflite", [numbers[:33, :33], numbers[-33:, -33:]])
    run = open_file("litert", tmp_path / "a.tflite")
    for size in [*SIZES, (120, 240)]:
        found = run(coordinates(*size))["logits"]
        assert np.abs(found - expected(*size, stride=8)).max() <= 4, size
