"""OpenVINO behind the Predictor's interface."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

import acfnet_tf
from acfnet_tf.config import EvaluationConfig
from acfnet_tf.errors import UserError
from acfnet_tf.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("shallow")

EVALUATIONS = {
    "whole": EvaluationConfig(),
    "all": EvaluationConfig(mode="sliding", window=(33, 49), multi_scale=True, scales=(0.75,), flip=True),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return acfnet_tf.ACFNet(5, "resnet18", channels=8, backbone_width=4, aspp_rates=(1, 2, 3))


@pytest.mark.parametrize("evaluation", EVALUATIONS.values(), ids=EVALUATIONS)
def test_labels_and_probabilities_are_tensorflows(model, evaluation):
    ours, theirs = Predictor(model, evaluation), Predictor(model, evaluation, runtime="openvino")
    for size in ((65, 97), (40, 50)):
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        expected, found = ours.probabilities(image), theirs.probabilities(image)
        for head in ("fine", "coarse"):
            np.testing.assert_allclose(found[head], expected[head], atol=1e-4)
            assert np.mean(theirs.labels(image)[head] == ours.labels(image)[head]) > 0.999
        np.testing.assert_array_equal(theirs(image), theirs.labels(image)["fine"])


def test_bfloat16_rounds(model):
    image = np.random.default_rng(1).integers(0, 256, (65, 97, 3), np.uint8)
    rounded = Predictor(model, runtime="openvino_bfloat16").probabilities(image)["fine"]
    np.testing.assert_allclose(rounded, Predictor(model).probabilities(image)["fine"], atol=0.05)


def test_conversion_reports_nothing_to_anybody(model):
    Predictor(model, runtime="openvino")(np.zeros((33, 33, 3), np.uint8))
    assert sys.modules["openvino_telemetry"] is None


def test_names_the_extra_where_it_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "acfnet_tf.inference.openvino", raising=False)
    with pytest.raises(UserError, match=r"\[export\]"):
        Predictor(model, runtime="openvino")
