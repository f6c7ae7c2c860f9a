"""ResNets of keras.applications and keras_hub compute the same in our network, on the same RGB image."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.resnet import resnet
from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.keras_resnet import layers_of, resnet_from_keras, resnet_from_layers
from acfnet_tf.pretrained.preprocessing import IMAGENET_RGB
from acfnet_tf.pretrained.pretrained import Pretrained
from tests.oracle import assert_close
from tests.pretrained.keras_networks import hub_resnet
from tests.saving import randomize

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 65, 97, 3), np.uint8)


@pytest.fixture(scope="module")
def application() -> keras.Model:
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    randomize(model)
    return model


@pytest.fixture(scope="module")
def hub() -> dict[str, keras.Model]:
    return {name: hub_resnet(name) for name in ("resnet18", "resnet50")}


def ours(pretrained: Pretrained, backbone: str, output_stride: int, width: int = 64) -> keras.Model:
    """RGB in 0–255 → the last stage, with the weights, variant and preprocessing of `pretrained`."""
    settings = dict(pretrained.settings)
    mean, deviation = settings.pop("pixel_mean"), settings.pop("pixel_std")
    images = keras.Input((None, None, 3))
    normalized = keras.layers.Normalization(mean=mean, variance=[value**2 for value in deviation])(images)
    stages = resnet(normalized, backbone, output_stride=output_stride, width=width, **settings)
    model = keras.Model(images, stages[-1])
    with_weights = {layer.name: layer for layer in model.layers[2:] if layer.weights}
    assert with_weights.keys() == pretrained.layers.keys()
    for name, layer in with_weights.items():
        layer.set_weights(pretrained.layers[name])
    return model


def assert_same_features(pretrained: Pretrained, expected: np.ndarray, backbone: str, width: int = 64) -> None:
    """At stride 32, and on every fourth pixel of the dilated network's map."""
    assert expected.std() > 1e-3, "the comparison would be of nothing"
    for output_stride, step in ((32, 1), (8, 4)):
        features = ours(pretrained, backbone, output_stride, width)(IMAGE, training=False).numpy()
        assert_close(features[:, ::step, ::step], expected, 1e-4)


def test_keras_applications(application):
    expected = application(keras.applications.resnet.preprocess_input(IMAGE.astype(np.float32)), training=False)
    pretrained = resnet_from_keras(application, "resnet50", "theirs")
    assert_same_features(pretrained, expected.numpy(), "resnet50")
    assert pretrained.settings["pixel_mean"] == (123.68, 116.779, 103.939)  # red, green, blue


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_networks_under_the_names_of_keras_hub(hub, name):
    normalized = (IMAGE - np.float32(IMAGENET_RGB["pixel_mean"])) / np.float32(IMAGENET_RGB["pixel_std"])
    expected = hub[name](normalized, training=False).numpy()
    assert_same_features(resnet_from_keras(hub[name], name, "theirs"), expected, name, width=4)


def test_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    theirs = keras_hub.models.ResNetBackbone([64], [7], [64, 128, 256, 512], [2] * 4, [1, 2, 2, 2], "basic_block")
    randomize(theirs)
    expected = theirs((IMAGE - np.float32(IMAGENET_RGB["pixel_mean"])) / np.float32(IMAGENET_RGB["pixel_std"]))
    assert_same_features(resnet_from_keras(theirs, "resnet18", "theirs"), np.asarray(expected), "resnet18")


def test_a_classifier_around_the_network_is_left(hub):
    classifier = keras.Sequential([hub["resnet18"], keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    pretrained = resnet_from_keras(classifier, "resnet18", "mine")
    assert pretrained.unused == [classifier.layers[-1].name]
    assert len(pretrained.layers) == 20


def refusal(layers: Mapping[str, list[np.ndarray]], backbone: str = "resnet18") -> str:
    with pytest.raises(UserError) as refused:
        resnet_from_layers(layers, backbone, "weights.h5")
    message = str(refused.value)
    assert message.startswith("weights.h5 ")
    assert "\n" not in message
    return message


def test_another_depth_is_refused_with_the_setting_that_fits(hub):
    assert "holds a resnet50, not a resnet18: --set model.backbone=resnet50" in refusal(layers_of(hub["resnet50"]))
    assert "--set model.backbone=resnet18" in refusal(layers_of(hub["resnet18"]), "resnet34")


def test_what_is_missing_or_foreign_is_named(hub):
    layers = layers_of(hub["resnet18"])
    kernel = [np.zeros((3, 3, 4, 4), np.float32)]
    without = {name: arrays for name, arrays in layers.items() if name != "stack3_block0_0_bn"}
    assert "stack3_block0_0_bn" in refusal(without)
    assert "stem_conv1" in refusal({name: arrays for name, arrays in layers.items() if not name.startswith("conv1")})
    assert "conv2_conv" in refusal(layers | {"conv2_conv": kernel})
    assert "a ResNet of (3, 2, 2, 2) basic blocks" in refusal(layers | {"stack0_block2_1_conv": kernel})


def test_other_networks_are_refused():
    assert "mobile_conv" in refusal({"mobile_conv": [np.zeros((3, 3, 3, 8))]})
    with keras.StatelessScope():
        second = keras.applications.ResNet50V2(include_top=False, weights=None, input_shape=(None, None, 3))
    assert "ResNetV2" in refusal({layer.name: [] for layer in second.layers if layer.weights})


def test_shortcuts_that_average_are_refused():
    images = keras.Input((None, None, 3))
    with pytest.raises(UserError, match="ResNet-D"):
        resnet_from_keras(keras.Model(images, keras.layers.AveragePooling2D(2)(images)), "resnet50", "vd.keras")
