"""The fused form of synchronised BatchNorm equals Keras's composed one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import SyncBatchNorm
from acfnet_tf.layers.norm import batch_norm_over_replicas, deferred_statistics, normalize_by_sums


def outputs_and_gradients(layer: keras.Layer, inputs: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    inputs = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(outputs * weights)
    gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
    return [value.numpy() for value in (outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value)]


@given(st.integers(0, 2**20), st.tuples(*[st.integers(1, 6)] * 4))
@settings(deadline=None, max_examples=25)
def test_outputs_gradients_and_moving_statistics_are_the_same(seed, shape):
    rng = np.random.default_rng(seed)
    inputs, weights = (rng.normal(0.5, 2.0, shape).astype(np.float32) for _ in range(2))
    layers = SyncBatchNorm(), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=True)
    for layer in layers:
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2, shape[-1]))
    ours, reference = (outputs_and_gradients(layer, inputs, weights) for layer in layers)
    if np.prod(shape[:3]) < 4:  # hardly any variance: the gradient of the inputs is ill-conditioned
        del ours[1], reference[1]
    for a, b in zip(ours, reference, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3 * max(1, np.abs(b).max()), rtol=1e-3)


@given(st.integers(0, 2**20), st.integers(2, 5), st.integers(-2, 1), *[st.booleans()] * 3)
@settings(deadline=None, max_examples=40)
def test_every_rank_axis_and_choice_is_as_in_keras(seed, rank, axis, scale, center, masked):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 6, rank).tolist())
    axis = -1 if masked or rank == 2 else axis or 3 % rank  # Keras masks channels that are last; axis 0 is the batch
    inputs, weights = (tf.constant(rng.normal(0.5, 2.0, shape), tf.float32) for _ in range(2))
    mask = tf.constant(rng.random(shape[:-1]) < 0.7) if masked else None
    options = {"axis": axis, "momentum": 0.9, "epsilon": 1e-3, "scale": scale, "center": center}
    results = []
    for layer in (SyncBatchNorm(**options), keras.layers.BatchNormalization(**options, synchronized=True)):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True, mask=mask)
            loss = tf.reduce_sum(outputs * weights)
        results.append([outputs, tape.gradient(loss, inputs), *(variable.value for variable in layer.variables)])
    for ours, reference in zip(*results, strict=True):
        np.testing.assert_allclose(ours, reference, atol=2e-3 * max(1.0, float(tf.reduce_max(tf.abs(reference)))))


def test_it_refuses_not_to_be_synchronized():
    with pytest.raises(ValueError, match="always synchronized"):
        SyncBatchNorm(synchronized=False)


@given(st.integers(0, 2**20), st.tuples(st.integers(2, 6), *[st.integers(2, 6)] * 3), st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_batches_that_are_summed_up_are_the_same_as_one(seed, shape, parts):
    """Outputs, statistics and gradients from sums, far from zero, against the fused operation on all at once."""
    rng = np.random.default_rng(seed)
    inputs, weights = (tf.constant(rng.normal(mean, 2.0, shape), tf.float32) for mean in (50.0, 0.0))
    gamma, beta = tf.linspace(0.5, 2.0, shape[-1]), tf.linspace(-1.0, 1.0, shape[-1])
    center = tf.fill(shape[-1:], 49.0)
    values = tf.cast(tf.reshape(inputs, (-1, shape[-1])), tf.float64) - 49.0
    sums = sum(
        tf.concat([tf.reduce_sum(part, 0), tf.reduce_sum(part**2, 0), [len(part)]], axis=0)
        for part in np.array_split(values.numpy(), parts)
    )
    results = []
    for function in (
        lambda x, g, b: batch_norm_over_replicas(x, g, b, center, 1e-5),
        lambda x, g, b: normalize_by_sums(x, g, b, center, tf.cast(sums, tf.float32), 1e-5),
    ):
        with tf.GradientTape() as tape:
            tape.watch([inputs, gamma, beta])
            outputs, mean, variance = function(inputs, gamma, beta)
            loss = tf.reduce_sum(outputs * weights)
        results.append([outputs, mean, variance, *tape.gradient(loss, [inputs, gamma, beta])])
    for one, summed in zip(*results, strict=True):
        np.testing.assert_allclose(one, summed, atol=2e-3 * max(1.0, float(tf.reduce_max(tf.abs(one)))))


@pytest.mark.parametrize(
    ("shape", "options"),
    [((2, 4, 4, 3), {}), ((6, 3), {}), ((2, 3, 4, 4), {"axis": 1}), ((2, 4, 4, 3), {"dtype": "float64"})],
)
def test_deferred_statistics_are_collected_and_not_made(shape, options):
    layer = SyncBatchNorm(**options)
    inputs = np.random.default_rng(0).normal(3.0, 2.0, shape).astype(np.float32)
    layer.build(inputs.shape)
    with deferred_statistics() as updates:
        layer(inputs, training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), 0)
    assert [variable.path for variable, _ in updates] == [layer.moving_mean.path, layer.moving_variance.path]
    layer(inputs, training=True)
    for variable, value in updates:
        np.testing.assert_array_equal(variable.numpy(), value.numpy())


def test_one_replica_runs_the_fused_operation():
    layer = SyncBatchNorm()
    layer.build((None, None, None, 3))
    function = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec((2, 4, 4, 3)))
    assert any(op.type.startswith("FusedBatchNorm") for op in function.graph.get_operations())


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16", "float64"])
def test_every_dtype_policy_trains(policy):
    layer = SyncBatchNorm(dtype=policy)
    outputs = layer(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), training=True)
    assert outputs.dtype == layer.compute_dtype
    np.testing.assert_allclose(np.mean(tf.cast(outputs, tf.float32), axis=(0, 1, 2)), 0, atol=2e-2)


def test_frozen_or_inferring_it_uses_the_moving_statistics():
    layer = SyncBatchNorm()
    inputs = np.ones((1, 2, 2, 3), np.float32) * 5
    np.testing.assert_allclose(layer(inputs, training=False), inputs, rtol=1e-4)
    layer.trainable = False
    np.testing.assert_allclose(layer(inputs, training=True), inputs, rtol=1e-4)
