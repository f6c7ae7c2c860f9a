"""Pyramid pooling of PSPNet, whose cells are those of PyTorch's AdaptiveAvgPool2d."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import PyramidPooling
from acfnet_tf.layers.pyramid_pooling import adaptive_average_pooling, between_cells
from acfnet_tf.layers.resize import interpolate
from tests import oracle
from tests.layers.test_aspp import expected_unit
from tests.oracle import assert_close
from tests.saving import assert_survives_saving, randomize


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def expected_pooling(inputs: np.ndarray, bins: int) -> np.ndarray:
    """Cell by cell, in float64."""
    batch, height, width, channels = inputs.shape
    means = np.empty((batch, bins, bins, channels))
    for row in range(bins):
        rows = slice(math.floor(row * height / bins), math.ceil((row + 1) * height / bins))
        for column in range(bins):
            columns = slice(math.floor(column * width / bins), math.ceil((column + 1) * width / bins))
            means[:, row, column] = inputs[:, rows, columns].astype(np.float64).mean(axis=(1, 2))
    return means


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    bins=st.integers(1, 8),
    seed=st.integers(0, 2**31),
)
def test_pooling_equals_the_means_of_the_cells(height, width, bins, seed):
    inputs = image(2, height, width, 3, seed=seed)
    assert_close(adaptive_average_pooling(inputs, bins), expected_pooling(inputs, bins), 1e-6)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (13, 4)])
def test_equals_its_levels_side_by_side_and_projected(size):
    layer = PyramidPooling(4, bins=(1, 2, 3), epsilon=1e-3)
    inputs = image(2, *size, 6)
    layer.build(inputs.shape)
    randomize(layer)
    levels = [inputs] + [
        oracle.resize_on_grids(
            expected_unit(expected_pooling(inputs, bins), branch), *((n, n / bins, (n / bins - 1) / 2) for n in size)
        )
        for bins, branch in zip((1, 2, 3), layer.branches, strict=True)
    ]
    assert_close(layer(inputs), expected_unit(np.concatenate(levels, axis=-1), layer.projection))


@pytest.mark.parametrize("size", [(24, 33), (25, 25), (6, 50), (1, 3)])
def test_levels_stay_where_their_cells_are(size):
    """Of a map of positions, a level says where its cells lie; aligned corners would be off by half a cell."""
    positions = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)[None].astype(np.float32)
    for bins in (1, 2, 3, 6):
        rows, columns = (between_cells(length, bins) for length in size)
        level = interpolate(adaptive_average_pooling(positions, bins), rows, columns).numpy()
        for axis, length in enumerate(size):
            cell = length / bins
            inside = np.clip(positions[..., axis], (cell - 1) / 2, length - 1 - (cell - 1) / 2)
            assert np.abs(level[..., axis] - inside).max() <= 0.5 + 1e-4


def test_default_is_pspnet_s_four_grids_and_512_channels():
    layer = PyramidPooling()
    layer.build((None, None, None, 8))
    assert layer.bins == (1, 2, 3, 6)
    assert [branch.conv.kernel.shape for branch in layer.branches] == [(1, 1, 8, 512)] * 4
    assert layer.projection.conv.kernel.shape == (3, 3, 8 + 4 * 512, 512)


def test_gradients_reach_every_weight():
    layer = PyramidPooling(4, bins=(1, 3))
    inputs = image(3, 5, 6, 3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(inputs, training=True)) * image(3, 5, 6, 4))
    gradients = tape.gradient(loss, [variable.value for variable in layer.trainable_variables])
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient.numpy()).all(), variable.path
        assert np.abs(gradient.numpy()).max() > 0, variable.path


def test_all_batch_norms_are_synchronised():
    norms = [part for part in PyramidPooling(4)._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]
    assert len(norms) == 5
    assert all(norm.synchronized for norm in norms)


def test_a_mixed_policy_reaches_every_branch_but_means_are_float32():
    """The sum of ten thousand equal values is beyond what bfloat16 counts."""
    layer = PyramidPooling(4, bins=(1, 2), dtype="mixed_bfloat16")
    assert layer(image(1, 5, 5, 3)).dtype == tf.bfloat16
    assert {part.compute_dtype for part in layer._flatten_layers()} == {"bfloat16"}
    pooled = adaptive_average_pooling(tf.fill((1, 100, 100, 1), tf.constant(1.5, tf.bfloat16)), 1)
    assert pooled.dtype == tf.float32
    assert pooled.numpy().item() == pytest.approx(1.5, rel=1e-6)


def test_one_trace_takes_all_sizes():
    layer = PyramidPooling(4, bins=(1, 6))
    layer.build((None, None, None, 3))
    traced = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for size in [(1, 1), (3, 20), (9, 9)]:
        inputs = image(2, *size, 3)
        assert_close(traced(inputs), layer(inputs).numpy())


def test_saving_and_changing_sizes(tmp_path):
    samples = [[image(2, *size, 5)] for size in [(1, 1), (4, 7), (9, 2)]]
    assert_survives_saving(PyramidPooling(6, bins=(1, 3), name="psp"), [(None, None, 5)], samples, tmp_path)
