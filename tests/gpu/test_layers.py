"""The paper's layers against the float64 oracle, in every precision: only convolutions of the network may round."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.layers import (
    AttentionalClassFeature,
    ClassAttentionBlock,
    ClassCenterBlock,
    Conv2D,
    ResizeLike,
    SyncBatchNorm,
)  # fmt: skip
from acfnet_tf.layers.compilation import compiling
from acfnet_tf.layers.precision import running
from acfnet_tf.processors import precision_in_words
from tests import oracle
from tests.gradients import gradients_beside_plain
from tests.layers import test_attentional_class_feature as module
from tests.layers import test_class_attention as attention
from tests.layers import test_class_center as center
from tests.layers import test_compiled_norm as norm
from tests.oracle import assert_close, random_probabilities

pytestmark = pytest.mark.gpu

multiplied = pytest.mark.parametrize("precision", ["float32", "tf32"])
TF32 = 2e-3
"""Of sums whose factors are rounded to 11 bits, relative to the largest."""


def sample(classes: int = 19, channels: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Features and probabilities."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 33, 41, channels)).astype(np.float32)
    return features, random_probabilities(rng, (2, 33, 41, classes), 2.0)


@multiplied
def test_class_centers(precision):
    features, probabilities = sample()
    layer = center.built(ClassCenterBlock(32), features, probabilities)
    expected = oracle.class_centers(features, probabilities, layer.kernel.numpy(), layer.bias.numpy())
    with running(precision):
        assert_close(layer(features, probabilities), expected)


@multiplied
def test_gradients_of_class_centers(precision):
    features, probabilities = map(tf.constant, sample(7, 16))
    layer = center.built(ClassCenterBlock(8), features, probabilities)
    direction = np.random.default_rng(1).normal(size=(2, 7, 8))
    with running(precision):
        pairs = gradients_beside_plain(layer, center.materialised, (features, probabilities), direction)
    for one, other in pairs:
        assert_close(one, other.numpy(), 1e-5 if precision == "float32" else TF32)


@multiplied
@pytest.mark.parametrize("combine", attention.EQUATIONS)
def test_class_attention(precision, combine):
    _, probabilities = sample()
    centers = np.random.default_rng(1).normal(size=(2, 19, 32)).astype(np.float32)
    layer = attention.built(ClassAttentionBlock(16, combine), centers, probabilities)
    expected = attention.EQUATIONS[combine](centers, probabilities, layer.kernel.numpy(), layer.bias.numpy())
    with running(precision):
        assert_close(layer(centers, probabilities), expected)


@multiplied
@pytest.mark.parametrize("combine", module.COMBINE)
def test_the_whole_module(precision, combine):
    """Its last convolution is one of the network's."""
    inputs = module.inputs(2, 17, 21, classes=19, channels=32)
    layer = module.built(AttentionalClassFeature(24, combine, epsilon=1e-3), *inputs)
    with running(precision):
        assert_close(layer(*inputs), module.expected(layer, *inputs), 2e-5 if precision == "float32" else TF32)


@pytest.mark.parametrize("precision", ["float32", "tf32", "mixed_bfloat16", "mixed_float16"])
def test_logits_are_resized_exactly(precision):
    logits = np.random.default_rng(0).normal(0, 10, (2, 9, 12, 19)).astype(np.float32)
    policy = precision if precision.startswith("mixed") else "float32"
    with running(precision):
        resized = ResizeLike(8, 1.5, dtype=policy)(logits, np.zeros((2, 65, 90, 3), np.float32))
    assert resized.dtype == tf.float32
    assert_close(resized, oracle.resize_bilinear(logits, 65, 90, 8, 1.5))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_16_bits_class_centers_are_rounded_at_the_end_only(policy):
    with running(policy):
        center.test_under_a_mixed_policy_the_mean_over_a_large_map_is_float32(policy)
        center.test_a_mixed_policy_does_not_round_the_probabilities(policy)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("combine", attention.EQUATIONS)
def test_in_16_bits_class_attention_is_rounded_at_the_end_only(policy, combine):
    _, probabilities = sample()
    centers = np.random.default_rng(1).normal(size=(2, 19, 32)).astype(policy.removeprefix("mixed_"))
    layer = attention.built(ClassAttentionBlock(16, combine, dtype=policy), centers, probabilities)
    weights = layer.kernel.numpy(), layer.bias.numpy()
    expected = attention.EQUATIONS[combine](centers.astype(np.float64), probabilities, *weights)
    with running(policy):
        outputs = tf.cast(layer(centers, probabilities), tf.float32)
    assert_close(outputs, expected, 2.0**-8 if policy == "mixed_bfloat16" else 2.0**-11)


@multiplied
@pytest.mark.parametrize("rate", [1, 2, 12])
def test_convolutions_are_multiplied_as_the_first_lines_of_a_training_say(precision, rate):
    """Exactly where they say float32, and in TF32 at most rounded to it; forwards and backwards."""
    rng = np.random.default_rng(0)
    width = 31 if precision == "float32" else 33  # cuDNN's algorithm is chosen once for each size.
    images, direction = (rng.normal(size=(2, 25, width, channels)).astype(np.float32) for channels in (64, 32))
    layer = Conv2D(32, 3, dilation_rate=rate, use_bias=False)
    layer.build(images.shape)
    kernel = layer.kernel.numpy()
    with running(precision), tf.GradientTape() as tape:
        outputs = layer(tf.constant(images))
        loss = tf.reduce_sum(outputs * direction)
        gradient = tape.gradient(loss, layer.kernel.value)
    values = [outputs.numpy(), gradient.numpy()]
    # The convolution is linear in the kernel, so that <gradient, kernel> is the sum of outputs · direction.
    expected = oracle.conv2d(images, kernel, dilation=rate)
    error = np.abs(values[0] - expected).max() / np.abs(expected).max()
    product = np.sum(values[1].astype(np.float64) * kernel)
    of_gradient = abs(product - np.sum(expected * direction)) / np.sqrt(np.sum((expected * direction) ** 2))
    rounds = precision_in_words(precision).startswith("TF32")
    assert error < (TF32 if rounds else 5e-5)
    assert of_gradient < 10 * (TF32 if rounds else 5e-5)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("policy", norm.TOLERANCE)
def test_batch_norm_is_that_of_keras(policy, compiled):
    inputs, weights = norm.sample((2, 17, 21, 24))
    ours = norm.built(SyncBatchNorm(activation="silu", dtype=policy), inputs.shape)
    reference = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype="float64")
    norm.built(reference, inputs.shape)
    for layer in (ours, reference):
        layer.moving_mean.assign(inputs.mean((0, 1, 2)) + 0.1)  # As in a training, it is near the mean.
    with running("float32"), compiling(compiled):
        found = norm.results(ours, tf.identity, inputs, weights)
    expected = norm.results(reference, tf.nn.silu, inputs, weights)
    norm.assert_close(found, expected, max(norm.TOLERANCE[policy], 3e-5))
