"""ACF on other base networks than the paper's, from training to an exported file."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import acfnet_tf
from acfnet_tf.pretrained import pretrained_model
from tests.test_main import run
from tests.tiny import TINY_SETTINGS

EXPERIMENTS = {
    "acf_pspnet": "onnx",
    "acf_mobilenet": "litert",
    "acf_segformer": "saved_model",
    "acf_efficientnet_lite": "openvino",
}


@pytest.mark.parametrize(("name", "export_format"), EXPERIMENTS.items())
def test_a_small_twin_trains_evaluates_loads_and_exports(name, export_format, tiny_scenes, tmp_path):
    common = (f"--experiment={name}_small", f"--data_dir={tiny_scenes}", f"--run_dir={tmp_path}")
    settings = (*TINY_SETTINGS, "train.steps=1", "model.weights=none")
    run("--mode=train", *common, *(f"--set={setting}" for setting in settings))
    run("--mode=evaluate", *common)
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(report["heads"]) == {"coarse", "fine"}
    assert report["measured"]["initialized_from"] == "random weights"

    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    model = keras.models.load_model(tmp_path / "model.keras")
    logits = model(image[None])["fine"][0]
    np.testing.assert_array_equal(acfnet_tf.Predictor(tmp_path)(image), tf.argmax(logits, axis=-1))
    run("--mode=export", f"--format={export_format}", *common)
    assert any(path.name.startswith(f"{name}_small") for path in (tmp_path / "export").iterdir())


def test_packaged_imagenet_weights_are_in_the_model_and_outlive_saving(tmp_path):
    model = pretrained_model(
        num_classes=5, backbone="efficientnet_lite0", weights="imagenet", context=None, channels=8, output_stride=16
    )
    image = np.random.default_rng(0).integers(0, 256, (1, 65, 65, 3), np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.pixel_mean, loaded.pixel_std) == (model.pixel_mean, model.pixel_std)
    np.testing.assert_array_equal(loaded(image)["fine"], model(image)["fine"])
    fresh = acfnet_tf.ACFNet(5, backbone="efficientnet_lite0", context=None, channels=8, output_stride=16)
    taken = {layer.name for layer in model.layers if layer.weights and not _equal(layer, fresh.get_layer(layer.name))}
    assert {name for name in model.backbone_layers if model.get_layer(name).weights} <= taken


def _equal(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    return all((a == b).all() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
