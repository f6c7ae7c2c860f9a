"""Depthwise convolution: symmetric padding, strides and dilation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers.depthwise import DepthwiseConv2D
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_survives_saving, randomize

sizes = st.integers(1, 12)


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    height=sizes,
    width=sizes,
    channels=st.integers(1, 3),
    multiplier=st.integers(1, 2),
    kernel_size=st.sampled_from([1, 3, 5]),
    strides_and_rate=st.sampled_from([(1, 1), (2, 1), (1, 2), (1, 4)]),
    use_bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_is_one_symmetric_convolution_per_channel(
    height, width, channels, multiplier, kernel_size, strides_and_rate, use_bias, seed
):
    strides, rate = strides_and_rate
    inputs = image(2, height, width, channels, seed=seed)
    layer = DepthwiseConv2D(
        kernel_size, depth_multiplier=multiplier, strides=strides, dilation_rate=rate, use_bias=use_bias
    )
    layer.build(inputs.shape)
    randomize(layer, seed)
    kernel = layer.kernel.numpy()
    expected = np.concatenate(
        [oracle.conv2d(inputs[..., c : c + 1], kernel[:, :, c : c + 1], strides, rate) for c in range(channels)], -1
    )
    expected += layer.bias.numpy() if use_bias else 0
    outputs = layer(inputs)
    assert layer.compute_output_shape(inputs.shape) == outputs.shape
    assert_close(outputs, expected)


@pytest.mark.parametrize("strides_and_rate", [(1, 1), (2, 1), (1, 2)])
def test_has_gradients_in_every_precision(strides_and_rate):
    strides, rate = strides_and_rate
    for policy in ("float32", "mixed_bfloat16"):
        layer = DepthwiseConv2D(3, strides=strides, dilation_rate=rate, activation="relu", dtype=policy)
        model = keras.Sequential([keras.Input((None, None, 2)), layer, keras.layers.GlobalAveragePooling2D()])
        model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=False)
        before = [weight.numpy() for weight in layer.weights]
        model.fit(image(2, 7, 6, 2), np.ones((2, 2), np.float32), verbose=0)
        assert layer.compute_dtype == policy.removeprefix("mixed_")
        assert all(np.any(weight.numpy() != old) for weight, old in zip(layer.weights, before, strict=True))


def test_survives_saving(tmp_path):
    samples = [[image(2, *size, 3)] for size in ((1, 1), (5, 6))]
    layer = DepthwiseConv2D(5, strides=2, activation="relu", name="depthwise")
    assert_survives_saving(layer, [(None, None, 3)], samples, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kernel_size": 4}, "odd and square"),
        ({"kernel_size": (3, 5)}, "odd and square"),
        ({"kernel_size": 3, "strides": 2, "dilation_rate": 2}, r"strides.*dilation.rate"),
        ({"kernel_size": 3, "strides": (1, 2)}, "the same strides"),
        ({"kernel_size": 3, "data_format": "channels_first"}, "channels_last"),
    ],
)
def test_what_it_cannot_do_is_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        DepthwiseConv2D(**arguments)
