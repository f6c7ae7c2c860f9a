"""Keras's own test of layers over every layer of the package: configs, shapes, dtypes, masks, saving and training.

`keras.src.testing` is private to Keras; it needs absl's test module, which comes with absl.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from acfnet_tf import layers
from acfnet_tf.backbones import mix_transformer

MAP, CENTERS, PROBABILITIES = (2, 6, 8, 4), (2, 5, 4), (2, 6, 8, 5)
CASES = {
    "ASPP": ({"channels": 4, "rates": (1, 2)}, MAP, MAP),
    "AttentionalClassFeature": ({"channels": 4}, {"features_shape": MAP, "coarse_logits_shape": PROBABILITIES}, MAP),
    "ClassAttentionBlock": (
        {"channels": 4, "combine": "concat"},
        {"centers_shape": CENTERS, "probabilities_shape": PROBABILITIES},
        MAP,
    ),
    "ClassCenterBlock": ({"channels": 4}, {"features_shape": MAP, "probabilities_shape": PROBABILITIES}, CENTERS),
    "ClassCenterFusion": ({"channels": 4}, {"features_shape": MAP, "centers_shape": CENTERS}, MAP),
    "Conv2D": ({"filters": 3, "kernel_size": 3, "dilation_rate": 2}, MAP, (2, 6, 8, 3)),
    "ConvNormAct": ({"filters": 3, "kernel_size": 3, "strides": 2, "activation": "gelu"}, MAP, (2, 3, 4, 3)),
    "DepthwiseConv2D": ({"kernel_size": 3, "strides": 2}, MAP, (2, 3, 4, 4)),
    "PyramidPooling": ({"channels": 4, "bins": (1, 2)}, MAP, MAP),
    "ResizeLike": ({"stride": 2.0}, {"inputs_shape": (2, 3, 4, 5), "reference_shape": MAP}, PROBABILITIES),
    "SyncBatchNorm": ({"scale": False}, MAP, MAP),
}
OF_SEGFORMER = {
    "Encoder": ({"channels": 4, "heads": 2, "reduction": 2}, MAP, MAP),
    "MixFeedForward": ({"channels": 4}, MAP, MAP),
    "PatchEmbedding": ({"channels": 6, "patch_size": 3, "stride": 2}, MAP, (2, 3, 4, 6)),
    "ReducedAttention": ({"channels": 4, "heads": 2, "reduction": 2}, MAP, MAP),
}


def test_every_layer_has_a_case():
    assert set(CASES) == set(layers.__all__)


@pytest.mark.parametrize("name", [*CASES, *OF_SEGFORMER])
def test_keras_takes_it_for_a_layer(name):
    module = layers if name in CASES else mix_transformer
    arguments, shape, expected = (CASES | OF_SEGFORMER)[name]
    TestCase("run_layer_test").run_layer_test(
        getattr(module, name),
        arguments,
        input_shape=shape,
        expected_output_shape=expected,
        run_training_check=not isinstance(shape, dict),  # which knows layers of one input only
    )


@pytest.mark.parametrize("name", [name for name, (_, shape, _) in CASES.items() if isinstance(shape, dict)])
def test_layers_of_two_inputs_are_trained_and_saved_in_a_model(name, tmp_path):
    arguments, shapes, expected = CASES[name]
    inputs = {key.removesuffix("_shape"): keras.Input(shape[1:]) for key, shape in shapes.items()}
    outputs = getattr(layers, name)(**arguments)(**inputs)
    assert outputs.shape[1:] == expected[1:]
    model = keras.Model(inputs, keras.layers.Dense(1)(outputs))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {key: rng.normal(size=shapes[f"{key}_shape"]).astype(np.float32) for key in inputs}
    model.fit(values, rng.normal(size=(*expected[:-1], 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(values, verbose=0), model.predict(values, verbose=0), rtol=1e-5)
