"""One exported SavedModel of a tiny ACFNet, read-only for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.export.saved_model import write_saved_model
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.create import create_model
from tests.tiny import shallow_resnet, tiny_experiment

EXPORT = ExportConfig(coarse=True, color=True, max_pixels=100_000)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., np.ndarray]:
    """Noise of (height, width, seed), (H, W, 3) uint8."""
    return picture


@pytest.fixture(scope="module", autouse=True)
def converted_often(shallow: None) -> None:
    """Most of the time here goes into tracing and converting one and the same network again and again."""


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    keras.utils.set_random_seed(2)
    with shallow_resnet():
        return Predictor(create_model(dataclasses.replace(tiny_experiment().model, num_classes=len(CITYSCAPES))))


@pytest.fixture(scope="session")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version with the options coarse and color, and images of 100,000 pixels at most."""
    version = tmp_path_factory.mktemp("export") / "tiny" / "1"
    with shallow_resnet():
        write_saved_model(predictor, version, "tiny", CITYSCAPES, EXPORT, [picture(33, 40), picture(20, 31)])
    return version


@pytest.fixture(scope="session")
def pointwise() -> Callable[[int], Predictor]:
    """Makes a network of so many classes that is exported in no time; it has the fine head only."""

    def make(classes: int) -> Predictor:
        images = keras.Input((None, None, 3))
        keras.utils.set_random_seed(0)
        return Predictor(keras.Model(images, {"fine": keras.layers.Conv2D(classes, 1)(images / 255)}))

    return make
