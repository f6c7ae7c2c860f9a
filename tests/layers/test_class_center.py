"""ClassCenterBlock is Eq. 2 of the paper."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import ClassCenterBlock
from tests import oracle
from tests.gradients import gradients_beside_plain
from tests.oracle import assert_close, random_probabilities
from tests.saving import assert_survives_saving

shapes = {
    "batch": st.integers(1, 3),
    "height": st.integers(1, 9),
    "width": st.integers(1, 9),
    "classes": st.integers(1, 20),
    "channels_in": st.integers(1, 16),
    "channels": st.integers(1, 16),
    "seed": st.integers(0, 2**31),
}


def built(layer: ClassCenterBlock, features: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> ClassCenterBlock:
    """The layer with a random kernel and a bias that is not zero."""
    generator = np.random.default_rng(seed)
    layer.build(features.shape, probabilities.shape)
    layer.kernel.assign(generator.normal(size=layer.kernel.shape))
    layer.bias.assign(generator.normal(size=layer.bias.shape))
    return layer


def materialised(features: tf.Tensor, probabilities: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Eq. 2 in the paper's order, differentiable."""
    reduced = tf.einsum("bhwc,cd->bhwd", features, kernel) + bias
    weighted = probabilities[..., :, None] * reduced[..., None, :]
    return tf.reduce_sum(weighted, (1, 2)) / tf.reduce_sum(probabilities, (1, 2))[..., None]


@settings(max_examples=25, deadline=None)
@given(**shapes, peak=st.sampled_from([0.0, 1.0, 5.0]))
def test_equals_equation_2(batch, height, width, classes, channels_in, channels, seed, peak):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(batch, height, width, channels_in)).astype(np.float32)
    probabilities = random_probabilities(generator, (batch, height, width, classes), peak)
    layer = built(ClassCenterBlock(channels), features, probabilities, seed)
    expected = oracle.class_centers(features, probabilities, layer.kernel.numpy(), layer.bias.numpy())
    assert_close(layer(features, probabilities), expected)


@settings(max_examples=25, deadline=None)
@given(**shapes, data=st.data())
def test_absent_classes_are_finite_and_leave_the_others_alone(
    batch, height, width, classes, channels_in, channels, seed, data
):
    absent = data.draw(st.integers(0, classes - 1))
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(batch, height, width, channels_in)).astype(np.float32)
    probabilities = random_probabilities(generator, (batch, height, width, classes), 1.0, absent)
    layer = built(ClassCenterBlock(channels), features, probabilities, seed)
    centers = layer(features, probabilities).numpy()
    assert np.isfinite(centers).all()
    expected = oracle.class_centers(features, probabilities, layer.kernel.numpy(), layer.bias.numpy())
    present = classes - absent
    assert_close(centers[:, :present], expected[:, :present])
    assert np.isnan(expected[:, present:]).all()


@settings(max_examples=25, deadline=None)
@given(**shapes)
def test_with_one_hot_probabilities_equation_2_is_equation_1(
    batch, height, width, classes, channels_in, channels, seed
):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(batch, height, width, channels_in)).astype(np.float32)
    labels = generator.integers(classes, size=(batch, height, width))
    probabilities = np.eye(classes, dtype=np.float32)[labels]
    layer = built(ClassCenterBlock(channels), features, probabilities, seed)
    expected = oracle.class_centers_of_labels(features, labels, layer.kernel.numpy(), layer.bias.numpy(), classes)
    centers = layer(features, probabilities).numpy()
    present = ~np.isnan(expected)
    assert_close(centers[present], expected[present])


def test_a_class_seen_faintly_still_has_its_weighted_mean():
    """Far below float32's epsilon but a center all the same: the mean has no additive constant in its denominator."""
    features = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    faint = np.random.default_rng(1).uniform(1e-14, 1e-12, (1, 4, 4)).astype(np.float32)
    probabilities = np.stack([1 - faint, faint], axis=-1)
    layer = built(ClassCenterBlock(5), features, probabilities)
    expected = oracle.class_centers(features, probabilities, layer.kernel.numpy(), layer.bias.numpy())
    assert_close(layer(features, probabilities), expected)


def test_the_mean_is_per_image_and_does_not_depend_on_how_many_pixels_there_are():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(2, 3, 4, 5)).astype(np.float32)
    probabilities = random_probabilities(generator, (2, 3, 4, 6), 1.0)
    layer = built(ClassCenterBlock(7), features, probabilities)
    together = layer(features, probabilities)
    assert_close(together[:1], layer(features[:1], probabilities[:1]).numpy())
    repeated = layer(np.tile(features, (1, 2, 3, 1)), np.tile(probabilities, (1, 2, 3, 1)))
    assert_close(repeated, together.numpy())


@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_those_of_the_plain_form(seed):
    generator = np.random.default_rng(seed)
    features = tf.constant(generator.normal(size=(2, 5, 4, 6)).astype(np.float32))
    probabilities = tf.constant(random_probabilities(generator, (2, 5, 4, 7), 2.0))
    direction = generator.normal(size=(2, 7, 3))
    layer = built(ClassCenterBlock(3), features, probabilities, seed)
    for one, other in gradients_beside_plain(layer, materialised, (features, probabilities), direction):
        assert_close(one, other.numpy())


def test_gradients_equal_central_differences():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(2, 2, 3, 2))
    probabilities = random_probabilities(generator, (2, 2, 3, 3), 1.0).astype(np.float64)
    layer = built(ClassCenterBlock(2, dtype="float64"), features, probabilities)
    theoretical, numeric = tf.test.compute_gradient(layer, [features, probabilities], delta=1e-5)
    for one, other in zip(theoretical, numeric, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("probability", [0.0, 1e-38, 1e-30, 1e-20])
def test_an_absent_class_has_finite_gradients(probability):
    """`probability` everywhere: exactly zero, or so little that a float32 sum or its inverse is near its limits."""
    generator = np.random.default_rng(0)
    features = tf.constant(generator.normal(size=(1, 5, 5, 4)).astype(np.float32))
    present = random_probabilities(generator, (1, 5, 5, 3), 1.0)
    probabilities = tf.constant(np.concatenate([present, np.full((1, 5, 5, 1), probability, np.float32)], axis=-1))
    layer = built(ClassCenterBlock(6), features, probabilities)
    with tf.GradientTape() as tape:
        tape.watch([features, probabilities])
        loss = tf.reduce_sum(tf.square(layer(features, probabilities)))
    for gradient in tape.gradient(loss, [features, probabilities, layer.kernel.value, layer.bias.value]):
        assert np.isfinite(gradient.numpy()).all()


def test_an_absent_class_has_finite_gradients_through_the_softmax():
    features = tf.constant(np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype(np.float32))
    offsets = np.array([0, 0, -500])
    logits = tf.constant(np.random.default_rng(1).normal(size=(1, 5, 5, 3)) + offsets, tf.float32)
    layer = ClassCenterBlock(6)
    with tf.GradientTape() as tape:
        tape.watch([features, logits])
        loss = tf.reduce_sum(tf.square(layer(features, tf.nn.softmax(logits))))
    for gradient in tape.gradient(loss, [features, logits]):
        assert np.isfinite(gradient.numpy()).all()
        assert np.abs(gradient.numpy()).max() < 1e3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_under_a_mixed_policy_the_mean_over_a_large_map_is_float32(policy):
    """97·97 pixels of value 100: a float16 sum overflows, a bfloat16 sum no longer grows at a few hundred pixels."""
    compute = tf.bfloat16 if policy == "mixed_bfloat16" else tf.float16
    generator = np.random.default_rng(0)
    features = tf.cast(generator.normal(100, 10, (1, 97, 97, 8)), compute)
    probabilities = random_probabilities(generator, (1, 97, 97, 4), 1.0)
    layer = built(ClassCenterBlock(8, dtype=policy), features, probabilities)
    layer.kernel.assign(np.eye(8))
    layer.bias.assign(np.zeros(8))
    centers = layer(features, probabilities)
    assert centers.dtype == compute
    assert layer.kernel.dtype == "float32"
    exact = oracle.class_centers(tf.cast(features, tf.float64).numpy(), probabilities, np.eye(8), np.zeros(8))
    rounding = 2.0**-8 if policy == "mixed_bfloat16" else 2.0**-11
    np.testing.assert_allclose(tf.cast(centers, tf.float64), exact, rtol=1.1 * rounding)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_a_mixed_policy_does_not_round_the_probabilities(policy):
    """Features ±1000 with probabilities (1 ± 2^-13)/2: the center is their difference, gone once they are rounded."""
    sign = np.where(np.arange(64).reshape(1, 8, 8) % 2, 1.0, -1.0)
    features = (1000 * sign[..., None]).astype(np.float32)
    first = 0.5 * (1 + sign * 2.0**-13)
    probabilities = np.stack([first, 1 - first], axis=-1).astype(np.float32)
    layer = built(ClassCenterBlock(1, dtype=policy), features, probabilities)
    layer.kernel.assign([[1.0]])
    layer.bias.assign([0.0])
    centers = tf.cast(layer(features, probabilities), tf.float32)
    np.testing.assert_allclose(centers[0, :, 0], [1000 * 2.0**-13, -1000 * 2.0**-13], rtol=2.0**-8)


def test_saving_and_changing_sizes(tmp_path):
    generator = np.random.default_rng(0)
    samples = [
        [generator.normal(size=(2, *size, 5)).astype(np.float32), random_probabilities(generator, (2, *size, 3), 1.0)]
        for size in [(1, 1), (4, 7), (9, 2)]
    ]
    layer = ClassCenterBlock(6, name="centers")
    assert_survives_saving(layer, [(None, None, 5), (None, None, 3)], samples, tmp_path)


def test_symbolic_shape_and_dtype_are_those_of_the_result():
    layer = ClassCenterBlock(6, dtype="mixed_bfloat16")
    spec = layer(keras.Input((None, None, 5)), keras.Input((None, None, 3)))
    assert spec.shape == (None, 3, 6)
    assert spec.dtype == "bfloat16"


def test_default_has_512_channels_as_in_the_paper():
    assert ClassCenterBlock().channels == 512
