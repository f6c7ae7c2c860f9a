"""Networks of Keras libraries by their names: widths, and what is refused."""

from __future__ import annotations

import keras
import pytest

from acfnet_tf.backbones.keras_networks import KERAS_NETWORKS, keras_network


@pytest.mark.parametrize(
    "name", sorted({*KERAS_NETWORKS} - {"efficientnet_lite0", "efficientnet_v2_b1", "efficientnet_v2_b2"})
)
def test_networks_have_neither_preprocessing_nor_classifier(name):
    with keras.StatelessScope():
        model = keras_network(name)
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
    monkeypatch.setattr(keras.applications, "MobileNetV2", lambda **arguments: asked.update(arguments))
    keras_network("mobilenet_v2", 32, weights="imagenet")
    assert asked == {"include_top": False, "weights": "imagenet", "input_shape": (None, None, 3), "alpha": 0.5}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mobilenet_v4",), "mobilenet_v2, mobilenet_v3_small"),
        (("densenet121", 32), "densenet121 has one width only: set backbone_width to 64, not 32"),
    ],
)
def test_what_does_not_exist_is_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        keras_network(*arguments)
