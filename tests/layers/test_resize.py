"""Every feature stays on its pixel: interpolation by matrices, `ResizeLike`, and what a `Grid` says of places."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import ResizeLike
from acfnet_tf.layers.resize import Grid, interpolation, power_of_two
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_survives_saving

sizes = st.integers(1, 20)
grids = st.tuples(st.sampled_from([0.5, 1, 2, 2.5, 4, 8]), st.sampled_from([0, 0.5, 3, -2]))


def reference(*size: int) -> np.ndarray:
    return np.zeros((1, *size, 3), np.float32)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    old=st.tuples(sizes, sizes),
    new=st.tuples(sizes, sizes),
    channels=st.integers(1, 4),
    grid=grids,
    seed=st.integers(0, 2**31),
)
def test_equals_bilinear_interpolation_between_the_places_of_the_features(batch, old, new, channels, grid, seed):
    images = np.random.default_rng(seed).normal(size=(batch, *old, channels)).astype(np.float32)
    assert_close(ResizeLike(*grid)(images, reference(*new)), oracle.resize_bilinear(images, *new, *grid))


@pytest.mark.parametrize("layer", [ResizeLike(8), ResizeLike()], ids=["stride 8", "stride found"])
def test_feature_i_lies_on_pixel_8i_of_every_size(layer):
    for length in range(1, 75):
        count = -(-length // 8)
        features = np.random.default_rng(length).normal(size=(1, count, count, 1)).astype(np.float32)
        resized = layer(features, reference(length, length)).numpy()
        np.testing.assert_allclose(resized[:, ::8, ::8], features, rtol=0, atol=1e-6)
        beyond = resized[:, 8 * (count - 1) :, 0]
        np.testing.assert_allclose(beyond, np.broadcast_to(features[:, -1:, 0], beyond.shape), rtol=0, atol=1e-6)
        if count > 1:
            halfway = (resized[:, 0, 0] + resized[:, 0, 8]) / 2
            np.testing.assert_allclose(resized[:, 0, 4], halfway, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [97, 25, 2, 1])
def test_on_8k_plus_1_pixels_it_is_what_aligned_corners_give(size):
    features = np.random.default_rng(0).normal(size=(1, size, size, 2)).astype(np.float32)
    length = 8 * (size - 1) + 1
    corners = tf.raw_ops.ResizeBilinear(images=features, size=(length, length), align_corners=True)
    np.testing.assert_allclose(ResizeLike(8)(features, reference(length, length)), corners, rtol=0, atol=2e-6)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
def test_a_stride_that_is_a_power_of_two_is_found_from_the_sizes(stride):
    for length in (1, 2, 3, 5, 8, 31, 32, 33, 63, 64, 97, 256, 1000):
        features = np.random.default_rng(0).normal(size=(1, -(-length // stride), 1, 2)).astype(np.float32)
        found, given = (layer(features, reference(length, 1)) for layer in (ResizeLike(), ResizeLike(stride)))
        np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_it_is_found_too_of_floored_sizes_and_of_larger_inputs(stride):
    for length in range(3 * stride, 150):
        for count in (length // stride, -(-length // stride)):  # of windows that are not padded, and that are
            assert power_of_two(count, length) == stride
            assert power_of_two(length, count) == 1 / stride
    fewer = ResizeLike()(np.arange(9, dtype=np.float32)[None, :, None, None], reference(5, 1))
    np.testing.assert_array_equal(fewer[0, :, 0, 0], [0, 2, 4, 6, 8])


def test_a_layer_saved_before_it_had_a_stride_is_read():
    layer = ResizeLike.from_config({"name": "up", "trainable": True, "dtype": "float32"})
    assert (layer.stride, layer.offset) == (None, 0.0)


@pytest.mark.parametrize("stride", [0, -8, float("nan")])
def test_a_stride_that_is_none_is_refused(stride):
    with pytest.raises(ValueError, match="stride must be positive"):
        ResizeLike(stride)


def test_the_same_size_gives_the_same_values():
    images = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(ResizeLike()(images, images), images)


def test_gradients_equal_central_differences():
    images = np.random.default_rng(0).normal(size=(1, 3, 2, 2)).astype(np.float32)
    layer = ResizeLike(2.5, 0.5)
    (theoretical,), (numeric,) = tf.test.compute_gradient(lambda x: layer(x, reference(5, 7)), [images], delta=0.1)
    np.testing.assert_allclose(theoretical, numeric, rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_result_is_float32_whatever_comes_in_and_whatever_the_policy(policy, dtype):
    images = tf.cast(np.random.default_rng(0).normal(size=(1, 3, 3, 2)), dtype)
    resized = ResizeLike(2, dtype=policy)(images, reference(6, 5))
    assert resized.dtype == tf.float32
    assert_close(resized, oracle.resize_bilinear(tf.cast(images, tf.float32).numpy(), 6, 5, 2), 1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_policy_does_not_round_float32_logits(policy):
    """Two float32 logits that differ by 2^-12 must not become equal: their order is the predicted class."""
    images = np.full((1, 2, 2, 2), 1.0, np.float32)
    images[..., 1] += 2.0**-12
    resized = ResizeLike(dtype=policy)(images, reference(3, 3)).numpy()
    assert (resized[..., 1] > resized[..., 0]).all()


def test_saving_and_changing_sizes(tmp_path):
    generator = np.random.default_rng(0)
    samples = [
        [generator.normal(size=(2, *old, 5)).astype(np.float32), np.zeros((2, *new, 3), np.float32)]
        for old, new in [((1, 1), (8, 8)), ((4, 7), (3, 9)), ((9, 2), (1, 1))]
    ]
    for name, layer in {"found": ResizeLike(name="resize"), "given": ResizeLike(4, 1.5, name="resize")}.items():
        (tmp_path / name).mkdir()
        assert_survives_saving(layer, [(None, None, 5), (None, None, 3)], samples, tmp_path / name)


def test_a_size_known_beforehand_is_known_of_the_result():
    spec = ResizeLike()(keras.Input((97, 97, 19)), keras.Input((769, 769, 3)))
    assert spec.shape == (None, 769, 769, 19)
    assert spec.dtype == "float32"


@settings(deadline=None)
@given(stride=st.sampled_from([1, 4, 8, 32]), offset=st.sampled_from([0, 0.5, 14]), length=st.integers(1, 300))
def test_the_feature_nearest_to_a_pixel_weighs_most_and_stands_nearest(stride, offset, length):
    grid, count = Grid(stride, offset), -(-length // stride)
    nearest = grid.nearest_features(np.arange(length), count)
    weights = interpolation(np.arange(length), count, *grid).numpy()
    assert (np.take_along_axis(weights, nearest[:, None], axis=1)[:, 0] >= weights.max(axis=1) - 1e-6).all()
    pixels = grid.nearest_pixels(count, length)
    assert (np.abs(pixels - (offset + stride * np.arange(count)).clip(0, length - 1)) <= 0.5).all()


def test_a_grid_within_a_finer_one():
    assert Grid(32, 14).within(Grid(4, 2)) == Grid(8, 3)
    assert Grid(8).within(Grid(8)) == Grid(1)
