"""Convolutions: symmetric padding, and the unit with BatchNorm and ReLU; dilation is the matter of test_dilation.py."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import Conv2D, ConvNormAct
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_config_roundtrip, assert_survives_saving, randomize

sizes = st.integers(1, 12)
strides_and_rate = st.sampled_from([(1, 1), (2, 1), (1, 2), (1, 4)])


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 2),
    height=sizes,
    width=sizes,
    channels=st.integers(1, 5),
    filters=st.integers(1, 5),
    kernel_size=st.sampled_from([1, 3, 7]),
    strides_and_rate=strides_and_rate,
    use_bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_a_convolution_with_the_same_padding_on_every_side(
    batch, height, width, channels, filters, kernel_size, strides_and_rate, use_bias, seed
):
    strides, rate = strides_and_rate
    inputs = image(batch, height, width, channels, seed=seed)
    layer = Conv2D(filters, kernel_size, strides=strides, dilation_rate=rate, use_bias=use_bias)
    layer.build(inputs.shape)
    randomize(layer, seed)
    expected = oracle.conv2d(inputs, layer.kernel.numpy(), strides, rate)
    expected += layer.bias.numpy() if use_bias else 0
    outputs = layer(inputs)
    assert outputs.shape == (batch, -(-height // strides), -(-width // strides), filters)
    assert layer.compute_output_shape(inputs.shape) == outputs.shape
    assert_close(outputs, expected)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("rate", [1, 2, 4, 12])
def test_without_strides_it_is_the_convolution_of_keras(kernel_size, rate):
    inputs = image(2, 9, 6, 3)
    ours = Conv2D(4, kernel_size, dilation_rate=rate)
    theirs = keras.layers.Conv2D(4, kernel_size, dilation_rate=rate, padding="same")
    ours.build(inputs.shape)
    theirs.build(inputs.shape)
    randomize(ours)
    theirs.set_weights(ours.get_weights())
    assert_close(ours(inputs), theirs(inputs).numpy())


def test_every_second_output_without_strides_is_the_output_with_strides():
    """As it must be where a network is dilated: Keras's "same" shifts the grid by a pixel on even sizes."""
    inputs = image(1, 8, 10, 3)
    dense, strided = Conv2D(4, 3), Conv2D(4, 3, strides=2)
    dense.build(inputs.shape)
    strided.build(inputs.shape)
    strided.set_weights(dense.get_weights())
    assert_close(strided(inputs), dense(inputs).numpy()[:, ::2, ::2])


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("rate", [12, 36])
def test_a_rate_beyond_the_image_leaves_the_center_of_the_kernel(size, rate):
    inputs = image(1, size, size, 3)
    layer = Conv2D(4, 3, dilation_rate=rate)
    layer.build(inputs.shape)
    assert_close(layer(inputs), oracle.conv1x1(inputs, layer.kernel.numpy()[1, 1]))


@pytest.mark.parametrize("kernel_size", [2, 4, (3, 1)])
def test_an_even_or_oblong_kernel_is_refused(kernel_size):
    with pytest.raises(ValueError, match="kernel_size must be odd and square"):
        Conv2D(4, kernel_size)


@pytest.mark.parametrize("arguments", [{"strides": (1, 2)}, {"dilation_rate": (2, 1)}])
def test_different_strides_or_rates_for_height_and_width_are_refused(arguments):
    with pytest.raises(ValueError, match="height and width"):
        Conv2D(4, 3, **arguments)


def test_strides_together_with_dilation_are_refused():
    with pytest.raises(ValueError, match="strides > 1"):
        Conv2D(4, 3, strides=2, dilation_rate=2)


@pytest.mark.parametrize("arguments", [{}, {"strides": 2}, {"dilation_rate": 4}])
def test_saving_and_changing_sizes_of_a_convolution(tmp_path, arguments):
    samples = [[image(2, *size, 5)] for size in [(1, 1), (4, 7), (9, 2)]]
    assert_survives_saving(Conv2D(6, 3, name="conv", **arguments), [(None, None, 5)], samples, tmp_path)


def test_unit_in_inference_is_convolution_then_the_stored_statistics_then_relu():
    inputs = image(2, 5, 6, 3)
    unit = ConvNormAct(4, 3, strides=2, use_bias=True, epsilon=1e-3)
    unit.build(inputs.shape)
    randomize(unit)
    before = [weight.numpy() for weight in unit.weights]
    norm = unit.norm
    statistics = norm.gamma.numpy(), norm.beta.numpy(), norm.moving_mean.numpy(), norm.moving_variance.numpy()
    expected = oracle.conv2d(inputs, unit.conv.kernel.numpy(), strides=2) + unit.conv.bias.numpy()
    expected = oracle.batch_norm(expected, *statistics, epsilon=1e-3)
    assert_close(unit(inputs, training=False), np.maximum(expected, 0))
    for weight, value in zip(unit.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_unit_in_training_uses_and_follows_the_statistics_of_the_batch():
    inputs = image(4, 5, 6, 3)
    unit = ConvNormAct(4, 1, activation=None)
    unit.build(inputs.shape)
    convolved = oracle.conv2d(inputs, unit.conv.kernel.numpy())
    mean, variance = convolved.mean(axis=(0, 1, 2)), convolved.var(axis=(0, 1, 2))
    assert_close(unit(inputs, training=True), oracle.batch_norm(convolved, 1, 0, mean, variance, 1e-5))
    assert_close(unit.norm.moving_mean.numpy(), 0.1 * mean)
    assert_close(unit.norm.moving_variance.numpy(), 0.9 + 0.1 * variance)


def test_unit_without_activation_lets_negative_values_through():
    inputs = image(1, 5, 5, 3)
    with_relu, without = ConvNormAct(8, 1), ConvNormAct(8, 1, activation=None)
    assert with_relu(inputs, training=True).numpy().min() == 0
    assert without(inputs, training=True).numpy().min() < 0


@pytest.mark.parametrize(("activation", "function"), [("gelu", keras.activations.gelu), (tf.math.sin, tf.math.sin)])
def test_unit_takes_every_activation_that_a_layer_of_keras_takes(activation, function):
    inputs = image(1, 5, 5, 3)
    unit, plain = ConvNormAct(8, 1, activation=activation), ConvNormAct(8, 1, activation=None)
    for each in (unit, plain):
        each.build(inputs.shape)
    plain.set_weights(unit.get_weights())
    assert_close(unit(inputs), function(plain(inputs)).numpy())


@pytest.mark.parametrize(("of_before", "now"), [(True, "relu"), (False, "linear")])
def test_unit_reads_the_booleans_of_files_of_version_0_3(of_before, now):
    config = ConvNormAct(4, 1).get_config() | {"activation": of_before}
    assert ConvNormAct.from_config(config).get_config()["activation"] == now


def test_unit_synchronises_its_batch_norm_over_replicas():
    assert ConvNormAct(4, 3).norm.synchronized


def test_unit_hands_its_dtype_policy_to_its_parts():
    unit = ConvNormAct(4, 3, dtype="mixed_bfloat16")
    assert unit(image(1, 3, 3, 2)).dtype == tf.bfloat16
    assert unit.conv.compute_dtype == unit.norm.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in unit.weights} == {"float32"}


def test_unit_keeps_every_argument_in_its_config():
    unit = ConvNormAct(4, 3, 1, 2, use_bias=True, epsilon=1e-3, activation=None, dtype="mixed_float16")
    assert_config_roundtrip(unit)
    twin = ConvNormAct.from_config(unit.get_config())
    assert (twin.conv.filters, twin.conv.dilation_rate, twin.conv.use_bias) == (4, (2, 2), True)
    assert (twin.norm.epsilon, twin.get_config()["activation"], twin.compute_dtype) == (1e-3, "linear", "float16")


@pytest.mark.parametrize("arguments", [{}, {"strides": 2, "use_bias": True, "activation": "gelu"}])
def test_saving_and_changing_sizes_of_a_unit(tmp_path, arguments):
    samples = [[image(2, *size, 5)] for size in [(1, 1), (4, 7), (9, 2)]]
    assert_survives_saving(ConvNormAct(6, 3, name="unit", **arguments), [(None, None, 5)], samples, tmp_path)
