"""Dilated ResNets: shapes, rates, exactness of the dilation, and agreement with the networks whose weights exist."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.resnet import ARCHITECTURES, resnet
from acfnet_tf.layers import ConvNormAct
from tests.oracle import assert_close
from tests.saving import randomize

KERAS_APPLICATIONS = {"stride_in": "1x1", "conv_bias": True, "batch_norm_epsilon": 1.001e-5}


def network(name: str, size: int | None = None, **variant) -> keras.Model:
    """Model of the four stages."""
    images = keras.Input((size, size, 3))
    return keras.Model(images, resnet(images, name, **variant))


def parameters(name: str, **variant) -> tuple[int, int]:
    """Trainable and all parameters, without ever creating a value of them."""
    with keras.StatelessScope():
        model = network(name, **variant)
        trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        return trainable, sum(math.prod(weight.shape) for weight in model.weights)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_every_stage_is_the_image_divided_by_its_stride_rounded_up(name, output_stride):
    channels = [2 * 2**stage * (4 if name == "resnet50" else 1) for stage in range(4)]
    strides = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    model = network(name, width=2, output_stride=output_stride)
    for size in (1, 33, 65):
        stages = model(np.zeros((1, size, size + 1, 3), np.float32))
        assert [tuple(stage.shape) for stage in stages] == [
            (1, math.ceil(size / stride), math.ceil((size + 1) / stride), count)
            for stride, count in zip(strides, channels, strict=True)
        ]


def rates_of_3x3(model: keras.Model) -> list[list[int]]:
    """Dilation rates of the 3×3 convolutions, one list per stage."""
    rates = []
    for stage in range(1, 5):
        units = [layer for layer in model.layers if layer.name.startswith(f"stage{stage}_") and hasattr(layer, "conv")]
        rates.append([unit.conv.dilation_rate[0] for unit in units if unit.conv.kernel_size == (3, 3)])
    return rates


@pytest.mark.parametrize(
    ("name", "stride_in", "output_stride", "expected"),
    [
        # The first block of a dilated stage keeps the previous rate, where the 3×3 had the stride.
        ("resnet50", "3x3", 8, [[1] * 3, [1] * 4, [1, 2, 2, 2, 2, 2], [2, 4, 4]]),
        ("resnet50", "3x3", 16, [[1] * 3, [1] * 4, [1] * 6, [1, 2, 2]]),
        ("resnet50", "3x3", 32, [[1] * 3, [1] * 4, [1] * 6, [1] * 3]),
        # Where the 1×1 in front of it had the stride, every 3×3 sees the finer grid.
        ("resnet50", "1x1", 8, [[1] * 3, [1] * 4, [2] * 6, [4] * 3]),
        ("resnet50", "1x1", 16, [[1] * 3, [1] * 4, [1] * 6, [2] * 3]),
        ("resnet50", "1x1", 32, [[1] * 3, [1] * 4, [1] * 6, [1] * 3]),
        # In a basic block the first of two 3×3 has the stride.
        ("resnet18", "3x3", 8, [[1] * 4, [1] * 4, [1, 2, 2, 2], [2, 4, 4, 4]]),
    ],
)
def test_rates_by_stage(name, stride_in, output_stride, expected):
    assert rates_of_3x3(network(name, width=1, stride_in=stride_in, output_stride=output_stride)) == expected


@pytest.mark.parametrize(
    ("name", "variant", "size"),
    [
        ("resnet18", {}, 97),
        ("resnet18", {"stem": "deep_64"}, 70),
        ("resnet50", {}, 65),
        ("resnet50", {"stem": "deep_128"}, 65),
        ("resnet50", {"stem": "deep_64", "conv_bias": True}, 65),
        ("resnet50", KERAS_APPLICATIONS, 65),
    ],
)
def test_dilation_is_exact(name, variant, size):
    """With the same weights, the outputs of stride 32 reappear on every 4th pixel of stride 8 and every 2nd of 16."""
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    original = network(name, width=4, output_stride=32, **variant)
    randomize(original)
    expected = original(images, training=False)
    for output_stride in (8, 16):
        dilated = network(name, width=4, output_stride=output_stride, **variant)
        dilated.set_weights(original.get_weights())
        stages = dilated(images, training=False)
        for stage, (dense, sparse) in enumerate(zip(stages, expected, strict=True)):
            step = max(1, 2 ** (stage + 2) // output_stride)
            dense, sparse = dense.numpy()[:, ::step, ::step], sparse.numpy()
            assert sparse.std() > 1e-3, "the comparison would be of nothing"
            np.testing.assert_allclose(dense, sparse, rtol=0, atol=1e-4 * np.abs(sparse).max())


@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("resnet18", 11_176_512),
        ("resnet34", 21_284_672),
        ("resnet50", 23_508_032),
        ("resnet101", 42_500_160),
        ("resnet152", 58_143_808),
    ],
)
def test_parameters_are_those_of_torchvision_without_the_classifier(name, trainable):
    assert parameters(name)[0] == trainable


@pytest.mark.parametrize(("name", "output_stride"), [("ResNet50", 32), ("ResNet101", 8)])
def test_parameters_are_those_of_keras_applications(name, output_stride):
    with keras.StatelessScope():
        theirs = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(None, None, 3))
        trainable = sum(math.prod(weight.shape) for weight in theirs.trainable_weights)
        everything = sum(math.prod(weight.shape) for weight in theirs.weights)
    assert parameters(name.lower(), output_stride=output_stride, **KERAS_APPLICATIONS) == (trainable, everything)


@pytest.mark.parametrize(("stem", "channels"), [("deep_64", (32, 32, 64)), ("deep_128", (64, 64, 128))])
def test_deep_stems_are_three_3x3_convolutions(stem, channels):
    with keras.StatelessScope():
        model = network("resnet18", stem=stem)
    convs = [model.get_layer(f"stem_conv{i}").conv for i in (1, 2, 3)]
    assert tuple(conv.filters for conv in convs) == channels
    assert [conv.kernel_size for conv in convs] == [(3, 3)] * 3
    assert [conv.strides for conv in convs] == [(2, 2), (1, 1), (1, 1)]


def test_equals_keras_applications_with_the_same_weights():
    theirs = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    randomize(theirs)
    ours = network("resnet50", output_stride=32, **KERAS_APPLICATIONS)
    for unit in ours.layers:
        if not isinstance(unit, ConvNormAct):
            continue
        if unit.name == "stem_conv1":
            conv, norm = "conv1_conv", "conv1_bn"
        else:
            stage, block, role = unit.name.split("_")
            number = "0" if role == "shortcut" else role.removeprefix("conv")
            prefix = f"conv{int(stage[-1]) + 1}_{block}_{number}"
            conv, norm = f"{prefix}_conv", f"{prefix}_bn"
        unit.conv.set_weights(theirs.get_layer(conv).get_weights())
        unit.norm.set_weights(theirs.get_layer(norm).get_weights())
    images = np.random.default_rng(0).normal(0, 50, (2, 64, 64, 3)).astype(np.float32)
    ends = [theirs.get_layer(f"conv{end}_out").output for end in ("2_block3", "3_block4", "4_block6", "5_block3")]
    expected = keras.Model(theirs.input, ends)(images, training=False)
    for one, other in zip(ours(images, training=False), expected, strict=True):
        assert other.numpy().std() > 1e-3
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())


def test_strides_and_padding_are_symmetric():
    """Mirroring the image mirrors every stage, on the 8k + 1 sizes that the grid is made for."""
    model = network("resnet18", width=4)
    randomize(model)
    for weight in model.weights:
        if weight.name == "kernel":
            weight.assign((weight.numpy() + weight.numpy()[:, ::-1]) / 2)
    images = np.random.default_rng(0).normal(size=(1, 33, 41, 3)).astype(np.float32)
    for stage, mirrored in zip(model(images), model(images[:, :, ::-1]), strict=True):
        assert_close(mirrored.numpy()[:, :, ::-1], stage.numpy(), 1e-4)


def test_all_batch_norms_are_synchronised_and_have_the_variant_s_epsilon():
    model = network("resnet50", width=1, batch_norm_epsilon=1.001e-5)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 53
    assert all(norm.synchronized for norm in norms)
    assert {norm.epsilon for norm in norms} == {1.001e-5}


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        ({"name": "resnet42"}, ARCHITECTURES),
        ({"name": "resnet18", "output_stride": 4}, ["8, 16 or 32", "4"]),
        ({"name": "resnet50", "stride_in": "5x5"}, ['"3x3"', '"1x1"', "5x5"]),
        ({"name": "resnet18", "stem": "9x9"}, ['"7x7"', '"deep_64"', '"deep_128"', "9x9"]),
    ],
)
def test_an_unknown_choice_is_refused_with_the_choices(arguments, choices):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        network(**arguments)
    for choice in choices:
        assert choice in str(refused.value)
