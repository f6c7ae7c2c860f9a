"""What the tests of `find_pretrained` share."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.keras_networks import keras_network
from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.find import find_pretrained
from acfnet_tf.pretrained.pretrained import Pretrained
from tests.saving import randomize


def narrow_mobilenet() -> keras.Model:
    """A quarter as wide as the original: `model.backbone_width=16`."""
    model = keras_network("mobilenet", 16)
    randomize(model)
    return model


def refusal(weights: str | Path, backbone: str = "resnet18", width: int = 64) -> str:
    with pytest.raises(UserError) as refused:
        find_pretrained(str(weights), backbone, width)
    message = str(refused.value)
    assert "\n" not in message
    return message


def assert_layers(found: Pretrained | None, expected: Pretrained) -> None:
    assert found is not None
    assert found.layers.keys() == expected.layers.keys()
    assert found.settings == expected.settings
    for name, arrays in expected.layers.items():
        for actual, array in zip(found.layers[name], arrays, strict=True):
            np.testing.assert_array_equal(actual, array)


def save_legacy(model: keras.Model, path: Path) -> None:
    """In the form that earlier versions of Keras gave to `.h5` files."""
    keras.saving.save_model(model, path)
