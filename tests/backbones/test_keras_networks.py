"""Networks of Keras libraries by their names: preprocessing, widths, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.keras_networks import KERAS_NETWORKS, keras_network
from acfnet_tf.errors import UserError

IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 5, 4, 3)).astype(np.float32)
APPLICATIONS = keras.applications


def by_layers(model: keras.Model) -> np.ndarray:
    """What the first layers of a network that has its preprocessing inside make of the image."""
    x = IMAGE
    for layer in model.layers[1:3]:
        if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            x = layer(x)
    return np.asarray(x)


def preprocessed_by_keras(name: str) -> np.ndarray:
    """The image as keras.applications would give it to the network."""
    if name.startswith("mobilenet_v3"):
        make = {
            "mobilenet_v3_small": APPLICATIONS.MobileNetV3Small,
            "mobilenet_v3_large": APPLICATIONS.MobileNetV3Large,
        }
        return by_layers(make[name]((64, 64, 3), 0.25, include_top=False, weights=None))
    if name.startswith("efficientnet_v2"):
        make = getattr(APPLICATIONS, f"EfficientNetV2B{name[-1]}")
        with keras.StatelessScope():
            return by_layers(make(include_top=False, weights=None))
    module = {"mobilenet": "mobilenet", "mobilenet_v2": "mobilenet_v2", "densenet121": "densenet"}[name]
    return getattr(APPLICATIONS, module).preprocess_input(IMAGE.copy())


@pytest.mark.parametrize(
    "name", sorted({*KERAS_NETWORKS} - {"efficientnet_lite0", "efficientnet_v2_b1", "efficientnet_v2_b2"})
)
def test_settings_are_the_preprocessing_of_keras_applications(name):
    with keras.StatelessScope():
        model, settings = keras_network(name), KERAS_NETWORKS[name].preprocessing
        expected = preprocessed_by_keras(name)
    np.testing.assert_allclose((IMAGE - settings["pixel_mean"]) / settings["pixel_std"], expected, atol=1e-4)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert not kinds & {"Rescaling", "Normalization", "Dense", "GlobalMaxPooling2D"}
    assert len(model.output.shape) == 4


@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0"])
def test_width_scales_the_channels(name):
    with keras.StatelessScope():
        parameters = [keras_network(name, width).count_params() for width in (8, 32, 64)]
    assert parameters[0] < parameters[1] < parameters[2]


def test_imagenet_weights_are_asked_of_keras_for_the_right_network(monkeypatch):
    asked = {}
    monkeypatch.setattr(APPLICATIONS, "MobileNetV2", lambda **arguments: asked.update(arguments))
    keras_network("mobilenet_v2", 32, weights="imagenet")
    assert asked == {"include_top": False, "weights": "imagenet", "input_shape": (None, None, 3), "alpha": 0.5}


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("mobilenet_v4",), ValueError, "mobilenet_v2, mobilenet_v3_small"),
        (("densenet121", 32), ValueError, "densenet121 has one width only: set backbone_width to 64, not 32"),
        (("mobilenet_v2", 16, "imagenet"), UserError, "model.backbone_width=32 or 48 or 64, not 16"),
    ],
)
def test_what_does_not_exist_is_refused(arguments, error, told):
    with pytest.raises(error, match=told):
        keras_network(*arguments)
