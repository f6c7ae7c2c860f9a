"""What weights of keras.applications expect of an image."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.keras_networks import KERAS_NETWORKS
from acfnet_tf.pretrained.preprocessing import OF_KERAS_NETWORKS

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


def test_every_network_has_a_preprocessing():
    assert OF_KERAS_NETWORKS.keys() == KERAS_NETWORKS.keys()


@pytest.mark.parametrize(
    "name", sorted({*KERAS_NETWORKS} - {"efficientnet_lite0", "efficientnet_v2_b1", "efficientnet_v2_b2"})
)
def test_settings_are_the_preprocessing_of_keras_applications(name):
    settings = OF_KERAS_NETWORKS[name]
    with keras.StatelessScope():
        expected = preprocessed_by_keras(name)
    np.testing.assert_allclose((IMAGE - settings["pixel_mean"]) / settings["pixel_std"], expected, atol=1e-4)
