"""ResizeLike keeps the corners where they are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import ResizeLike
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_survives_saving

sizes = st.integers(1, 20)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    old=st.tuples(sizes, sizes),
    new=st.tuples(sizes, sizes),
    channels=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_equals_bilinear_interpolation_with_aligned_corners(batch, old, new, channels, seed):
    images = np.random.default_rng(seed).normal(size=(batch, *old, channels)).astype(np.float32)
    resized = ResizeLike()(images, np.zeros((batch, *new, 7), np.float32))
    assert_close(resized, oracle.resize_bilinear(images, *new))


def test_feature_i_of_97_lies_on_pixel_8i_of_769():
    features = np.random.default_rng(0).normal(size=(1, 97, 97, 1)).astype(np.float32)
    resized = ResizeLike()(features, np.zeros((1, 769, 769, 3), np.float32)).numpy()
    np.testing.assert_allclose(resized[:, ::8, ::8], features, rtol=0, atol=1e-4)
    halfway = (resized[:, 0, 0] + resized[:, 0, 8]) / 2
    np.testing.assert_allclose(resized[:, 0, 4], halfway, rtol=0, atol=1e-4)


def test_the_same_size_gives_the_same_values():
    images = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(ResizeLike()(images, images), images)


def test_gradients_equal_central_differences():
    images = np.random.default_rng(0).normal(size=(1, 3, 2, 2)).astype(np.float32)
    reference = tf.zeros((1, 5, 7, 1))
    (theoretical,), (numeric,) = tf.test.compute_gradient(lambda x: ResizeLike()(x, reference), [images], delta=0.1)
    np.testing.assert_allclose(theoretical, numeric, rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_result_is_float32_whatever_comes_in_and_whatever_the_policy(policy, dtype):
    images = tf.cast(np.random.default_rng(0).normal(size=(1, 3, 3, 2)), dtype)
    resized = ResizeLike(dtype=policy)(images, tf.zeros((1, 6, 5, 3)))
    assert resized.dtype == tf.float32
    assert_close(resized, oracle.resize_bilinear(tf.cast(images, tf.float32).numpy(), 6, 5), 1e-2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_policy_does_not_round_float32_logits(policy):
    """Two float32 logits that differ by 2^-12 must not become equal: their order is the predicted class."""
    images = np.full((1, 2, 2, 2), 1.0, np.float32)
    images[..., 1] += 2.0**-12
    resized = ResizeLike(dtype=policy)(images, np.zeros((1, 3, 3, 1), np.float32)).numpy()
    assert (resized[..., 1] > resized[..., 0]).all()


def test_saving_and_changing_sizes(tmp_path):
    generator = np.random.default_rng(0)
    samples = [
        [generator.normal(size=(2, *old, 5)).astype(np.float32), np.zeros((2, *new, 3), np.float32)]
        for old, new in [((1, 1), (8, 8)), ((4, 7), (3, 9)), ((9, 2), (1, 1))]
    ]
    assert_survives_saving(ResizeLike(name="resize"), [(None, None, 5), (None, None, 3)], samples, tmp_path)


def test_a_size_known_beforehand_is_known_of_the_result():
    spec = ResizeLike()(keras.Input((97, 97, 19)), keras.Input((769, 769, 3)))
    assert spec.shape == (None, 769, 769, 19)
    assert spec.dtype == "float32"
