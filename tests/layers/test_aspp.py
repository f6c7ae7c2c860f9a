"""ASPP as in Section 4.1 of the paper."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.layers import ASPP, ConvNormAct
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_survives_saving, randomize


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def expected_unit(inputs: np.ndarray, unit: ConvNormAct) -> np.ndarray:
    """Inference of a `ConvNormAct` in float64."""
    norm = unit.norm
    statistics = norm.gamma.numpy(), norm.beta.numpy(), norm.moving_mean.numpy(), norm.moving_variance.numpy()
    convolved = oracle.conv2d(inputs, unit.conv.kernel.numpy(), dilation=unit.dilation_rate)
    return np.maximum(oracle.batch_norm(convolved, *statistics, unit.epsilon), 0)


def test_default_is_the_paper_s_four_branches_of_512_channels():
    layer = ASPP()
    layer.build((None, None, None, 8))
    kernels = [(branch.conv.kernel.shape, branch.conv.dilation_rate) for branch in layer.branches]
    assert kernels == [
        ((1, 1, 8, 512), (1, 1)),
        ((3, 3, 8, 512), (12, 12)),
        ((3, 3, 8, 512), (24, 24)),
        ((3, 3, 8, 512), (36, 36)),
    ]
    assert layer.projection.conv.kernel.shape == (1, 1, 4 * 512, 512)


def test_there_is_no_image_pooling_branch():
    """A pixel out of reach of every branch does not matter."""
    layer = ASPP(4, rates=(1, 2))
    inputs = image(1, 9, 9, 3)
    layer.build(inputs.shape)
    randomize(layer)
    changed = inputs.copy()
    changed[0, 8, 8] += 100
    difference = np.abs(layer(changed) - layer(inputs)).max(axis=(0, 3))
    reached = np.zeros((9, 9), bool)
    for rate in (1, 2):
        reached[8 - rate :: rate, 8 - rate :: rate] = True
    assert difference[8, 8] > 0
    assert not difference[~reached].any()


@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
def test_equals_its_branches_side_by_side_and_projected(size):
    layer = ASPP(4, rates=(2, 3, 5), epsilon=1e-3)
    inputs = image(2, *size, 6)
    layer.build(inputs.shape)
    randomize(layer)
    branches = [expected_unit(inputs, branch) for branch in layer.branches]
    expected = expected_unit(np.concatenate(branches, axis=-1), layer.projection)
    assert_close(layer(inputs), expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (9, 9)])
def test_the_paper_s_rates_keep_every_size(size):
    assert ASPP(4)(image(1, *size, 6)).shape == (1, *size, 4)


def test_gradients_reach_every_weight():
    layer = ASPP(4, rates=(1, 2))
    inputs = tf.constant(image(2, 5, 5, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(inputs, training=True)) * image(2, 5, 5, 4))
    for variable, gradient in zip(
        layer.trainable_variables,
        tape.gradient(loss, [variable.value for variable in layer.trainable_variables]),
        strict=True,
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
        assert np.abs(gradient.numpy()).max() > 0, variable.path


def test_all_batch_norms_are_synchronised():
    layer = ASPP(4)
    norms = [part for part in layer._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]
    assert len(norms) == 5
    assert all(norm.synchronized for norm in norms)


def test_a_mixed_policy_reaches_every_branch():
    layer = ASPP(4, rates=(2,), dtype="mixed_bfloat16")
    assert layer(image(1, 5, 5, 3)).dtype == tf.bfloat16
    assert {part.compute_dtype for part in layer._flatten_layers()} == {"bfloat16"}
    assert {weight.dtype for weight in layer.weights} == {"float32"}


def test_saving_and_changing_sizes(tmp_path):
    samples = [[image(2, *size, 5)] for size in [(1, 1), (4, 7), (9, 2)]]
    assert_survives_saving(ASPP(6, rates=(2, 3), name="aspp"), [(None, None, 5)], samples, tmp_path)
