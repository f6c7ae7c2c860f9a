"""BatchNorm folded into convolutions: the same logits, also after saving, from fewer operations."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import acfnet_tf
from acfnet_tf.inference.folding import fold_batch_norm
from acfnet_tf.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("shallow")


def model_with_statistics(**arguments) -> acfnet_tf.ACFNet:
    """A model whose BatchNorms do something: random scales, shifts and moving statistics."""
    keras.utils.set_random_seed(0)
    model = acfnet_tf.ACFNet(5, "resnet18", channels=8, backbone_width=4, aspp_rates=(1, 2, 3), **arguments)
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if "norm" in variable.path and "normalization" not in variable.path:
            positive = variable.name in ("gamma", "moving_variance")
            values = generator.uniform(0.5, 2, variable.shape) if positive else generator.normal(size=variable.shape)
            variable.assign(values)
        elif variable.name == "bias":
            variable.assign(generator.normal(size=variable.shape))
    return model


def logits(model: keras.Model) -> dict[str, np.ndarray]:
    image = np.random.default_rng(1).integers(0, 256, (2, 65, 49, 3)).astype(np.float32)
    return {head: np.asarray(values) for head, values in model(image).items()}


@pytest.mark.parametrize("arguments", [{}, {"conv_bias": True, "stem": "deep_64"}])
def test_logits_stay_the_same(arguments, tmp_path):
    model = model_with_statistics(**arguments)
    before = logits(model)
    fold_batch_norm(model)
    model.save(tmp_path / "folded.keras")
    for folded in (model, keras.models.load_model(tmp_path / "folded.keras")):
        for head, values in logits(folded).items():
            np.testing.assert_allclose(values, before[head], rtol=1e-4, atol=1e-4 * np.abs(before[head]).max())


def test_a_predictor_folds_what_it_loads_and_nothing_else(tmp_path):
    model = model_with_statistics()
    model.save(tmp_path / "model.keras")
    image = np.random.default_rng(2).integers(0, 256, (40, 33, 3), np.uint8)

    def operations(predictor: Predictor) -> int:
        predictor(image)
        (function,) = predictor._functions.values()
        return len(function.get_concrete_function().graph.get_operations())

    live, loaded = Predictor(model), Predictor(tmp_path)
    np.testing.assert_allclose(loaded.probabilities(image)["fine"], live.probabilities(image)["fine"], atol=1e-4)
    assert operations(Predictor(tmp_path)) < operations(Predictor(model))
    np.testing.assert_array_equal(
        logits(model)["fine"], logits(keras.models.load_model(tmp_path / "model.keras"))["fine"]
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_folding_rounds_no_more_than_16_bits_do(policy):
    exact = logits(model_with_statistics())["fine"]
    model = model_with_statistics(dtype=policy)
    rounded = logits(model)["fine"]
    fold_batch_norm(model)
    folded = logits(model)["fine"]
    assert not np.array_equal(folded, rounded)  # It is folded, in float32 variables.
    assert np.abs(folded - exact).mean() < 1.5 * np.abs(rounded - exact).mean()


def test_variables_of_16_bits_are_left_alone():
    model = model_with_statistics(dtype="float16")
    before = logits(model)
    fold_batch_norm(model)
    np.testing.assert_array_equal(logits(model)["fine"], before["fine"])
