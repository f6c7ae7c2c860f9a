"""ClassCenterFusion is the paper's ablation for class centers (Section 4.3.1)."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import ClassCenterFusion
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_survives_saving


def built(layer: ClassCenterFusion, features: np.ndarray, centers: np.ndarray, seed: int = 0) -> ClassCenterFusion:
    layer.build(features.shape, centers.shape)
    layer.kernel.assign(np.random.default_rng(seed).normal(size=layer.kernel.shape))
    return layer


def materialised(features: tf.Tensor, centers: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The upsampled centers concatenated with the feature map, then the 1×1 convolution, differentiable."""
    batch, height, width, _ = features.shape
    flat = tf.reshape(centers, (batch, 1, 1, -1))
    everything = tf.concat([features, tf.tile(flat, (1, height, width, 1))], axis=-1)
    return tf.einsum("bhwc,cd->bhwd", everything, kernel)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    classes=st.integers(1, 20),
    feature_channels=st.integers(1, 16),
    center_channels=st.integers(1, 16),
    channels=st.integers(1, 16),
    seed=st.integers(0, 2**31),
)
def test_equals_a_1x1_convolution_over_feature_map_and_upsampled_centers(
    batch, height, width, classes, feature_channels, center_channels, channels, seed
):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(batch, height, width, feature_channels)).astype(np.float32)
    centers = generator.normal(size=(batch, classes, center_channels)).astype(np.float32)
    layer = built(ClassCenterFusion(channels), features, centers, seed)
    assert_close(layer(features, centers), oracle.class_center_fusion(features, centers, layer.kernel.numpy()))


def test_gradients_equal_those_of_the_plain_form():
    generator = np.random.default_rng(0)
    features = tf.constant(generator.normal(size=(2, 5, 4, 6)).astype(np.float32))
    centers = tf.constant(generator.normal(size=(2, 7, 3)).astype(np.float32))
    direction = generator.normal(size=(2, 5, 4, 8))
    layer = built(ClassCenterFusion(8), features, centers)
    with tf.GradientTape() as tape:
        tape.watch([features, centers])
        loss = tf.reduce_sum(layer(features, centers) * direction.astype(np.float32))
    actual = tape.gradient(loss, [features, centers, layer.kernel.value])
    doubles = [tf.cast(value, tf.float64) for value in (features, centers, layer.kernel)]
    with tf.GradientTape() as tape:
        tape.watch(doubles)
        loss = tf.reduce_sum(materialised(*doubles) * direction)
    for one, other in zip(actual, tape.gradient(loss, doubles), strict=True):
        assert_close(one, other.numpy())


def test_gradients_equal_central_differences():
    generator = np.random.default_rng(0)
    features, centers = generator.normal(size=(2, 2, 3, 2)), generator.normal(size=(2, 3, 2))
    layer = built(ClassCenterFusion(2, dtype="float64"), features, centers)
    theoretical, numeric = tf.test.compute_gradient(layer, [features, centers], delta=1e-5)
    for one, other in zip(theoretical, numeric, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_policy_computes_in_half_precision(policy):
    compute = tf.bfloat16 if policy == "mixed_bfloat16" else tf.float16
    generator = np.random.default_rng(0)
    features = generator.normal(size=(1, 4, 5, 6)).astype(np.float32)
    centers = generator.normal(size=(1, 3, 2)).astype(np.float32)
    layer = built(ClassCenterFusion(8, dtype=policy), features, centers)
    fused = layer(features, centers)
    assert fused.dtype == compute
    assert layer.kernel.dtype == "float32"
    expected = oracle.class_center_fusion(features, centers, layer.kernel.numpy())
    assert_close(tf.cast(fused, tf.float64), expected, 2e-2)


def test_saving_and_changing_sizes(tmp_path):
    generator = np.random.default_rng(0)
    samples = [
        [generator.normal(size=(2, *size, 5)), generator.normal(size=(2, 3, 4))] for size in [(1, 1), (4, 7), (9, 2)]
    ]
    samples = [[array.astype(np.float32) for array in sample] for sample in samples]
    layer = ClassCenterFusion(6, name="fusion")
    assert_survives_saving(layer, [(None, None, 5), (3, 4)], samples, tmp_path)


def test_symbolic_shape_and_dtype_are_those_of_the_result():
    spec = ClassCenterFusion(6, dtype="mixed_bfloat16")(keras.Input((None, None, 5)), keras.Input((3, 4)))
    assert spec.shape == (None, None, None, 6)
    assert spec.dtype == "bfloat16"
