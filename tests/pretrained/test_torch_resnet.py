"""ResNets of PyTorch compute in our networks what they computed in PyTorch; what is no such ResNet is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.resnet import resnet
from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.pretrained import Pretrained
from acfnet_tf.pretrained.torch_file import read_torch_file
from acfnet_tf.pretrained.torch_resnet import resnet_from_torch
from tests.pretrained.torch_files import write_legacy, write_zip
from tests.pretrained.torch_networks import last_stage, state_dict


def network(pretrained: Pretrained, backbone: str, width: int, output_stride: int) -> keras.Model:
    """The last stage of uint8 RGB, with the preprocessing and the variant that the weights ask for."""
    variant = dict(pretrained.settings)
    mean, std = np.float32(variant.pop("pixel_mean")), np.float32(variant.pop("pixel_std"))
    images = keras.Input((None, None, 3), dtype="uint8")
    normalized = keras.layers.Normalization(mean=mean, variance=std**2)(images)
    stages = resnet(normalized, backbone, width=width, output_stride=output_stride, **variant)
    model = keras.Model(images, stages[-1])
    with_weights = {layer.name for layer in model.layers if layer.weights and not layer.name.startswith("norm")}
    assert set(pretrained.layers) == with_weights
    for name, weights in pretrained.layers.items():
        model.get_layer(name).set_weights(list(weights))
    return model


@pytest.mark.parametrize(
    ("naming", "backbone", "output_stride", "write", "stem"),
    [
        ("torchvision", "resnet50", 32, write_zip, "7x7"),
        ("torchvision", "resnet34", 8, write_legacy, "7x7"),
        ("v1c", "resnet50", 8, write_zip, "deep_64"),
        ("csail", "resnet50", 8, write_legacy, "deep_128"),
        ("csail", "resnet18", 32, write_legacy, "deep_128"),  # whose first block has a shortcut, for its 128 channels
        ("timm_deep", "resnet18", 8, write_zip, "deep_64"),
    ],
)
def test_computes_what_pytorch_computes(tmp_path, naming, backbone, output_stride, write, stem):
    state = state_dict(naming, backbone)
    pretrained = resnet_from_torch(read_torch_file(write(tmp_path / "weights", state)), backbone, "weights")
    assert pretrained.settings["stem"] == stem
    assert pretrained.unused == ["fc.weight", "fc.bias"]
    model = network(pretrained, backbone, 8, output_stride)
    images = np.random.default_rng(0).integers(0, 256, (2, 65, 97, 3), np.uint8)
    expected = last_stage(state, naming, images)
    step = 32 // output_stride
    actual = model(images, training=False).numpy()[:, ::step, ::step]
    assert expected.std() > 1e-3
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_weights_of_half_precision_become_float32():
    state = {name: array.astype(np.float16) for name, array in state_dict("torchvision", "resnet18").items()}
    layers = resnet_from_torch(state, "resnet18", "weights").layers
    assert {weight.dtype for weights in layers.values() for weight in weights} == {np.dtype(np.float32)}


def test_a_segmentation_network_gives_its_backbone():
    state = state_dict("v1c", "resnet18")
    heads = ["decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight", "aux_classifier.0.weight"]
    unused = resnet_from_torch(state | dict.fromkeys(heads, np.zeros(1)), "resnet18", "weights").unused
    assert unused == ["fc.weight", "fc.bias", *heads]


def changed(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """A narrow ResNet-50 with other tensors; `None`: without this one."""
    state = state_dict("torchvision", "resnet50") | changes
    return {name: array for name, array in state.items() if array is not None}


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (state_dict("torchvision", "resnet34"), ["holds a resnet34, not a resnet50: --set model.backbone=resnet34"]),
        ({"features.0.0.weight": ones(1), "features.0.1.bias": ones(1)}, ["no ResNet", "features.0.0.weight"]),
        ({"conv1.weight": ones(8, 3, 7, 7)}, ["no ResNet", "conv1.weight"]),
        (changed(**{"layer4.3.conv1.weight": ones(64, 256, 1, 1)}), ["(3, 4, 6, 4) bottlenecks", "resnet50"]),
        (changed(**{"layer1.0.downsample.1.weight": ones(32, 8, 1, 1)}), ["ResNet-D", "v1c"]),
        (changed(**{"layer1.0.conv2.weight": ones(8, 1, 3, 3)}), ["ResNeXt"]),
        (changed(**{"layer1.0.conv3.weight": ones(8, 8, 1, 1)}), ["wide ResNet"]),
        (changed(**{"bn1.running_mean": None, "bn1.running_var": None}), ["lacks 2 of the 265", "bn1.running_var"]),
        (changed(**{"layer2.0.downsample.0.weight": None}), ["lacks 1", "layer2.0.downsample.0.weight"]),
        (changed(**{"conv1.weight": ones(8, 3, 3, 3)}), ["conv1.weight of (8, 3, 3, 3) instead of (8, 3, 7, 7)"]),
        (changed(**{"layer1.0.se.fc1.weight": ones(1)}), ["1 tensors that our ResNets have not", "layer1.0.se.fc1"]),
        (changed(**{"bn1.bias": np.full(8, np.nan)}), ["not finite", "bn1.bias"]),
        (changed(**{"bn1.bias": np.zeros(8, np.int8)}), ["not finite floats", "bn1.bias"]),
    ],
)
def test_what_is_no_such_network_is_refused_in_one_line(state, expected):
    with pytest.raises(UserError) as refused:
        resnet_from_torch(state, "resnet50", "weights.pth")
    assert str(refused.value).startswith("weights.pth ") and "\n" not in str(refused.value)
    for part in expected:
        assert part in str(refused.value)
