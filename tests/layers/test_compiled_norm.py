"""The compiled form of synchronised BatchNorm with its activation equals Keras's layers in float64."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.layers import SyncBatchNorm, compiled_norm
from acfnet_tf.layers.compilation import compiling
from acfnet_tf.layers.norm import deferred_statistics

SHAPE = (3, 5, 7, 6)
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 2e-2, "mixed_float16": 2e-3}
"""Of the largest number of each result: outputs and gradients of 16 bits are rounded to 8 or 11 of them."""


def sample(shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, whose channels are far apart, and what the gradient comes from. bfloat16 knows both exactly."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(0.5, 2.0, shape) * np.geomspace(0.1, 10, shape[-1])
    return tuple(tf.cast(tf.cast(x, tf.bfloat16), tf.float32).numpy() for x in (inputs, rng.normal(size=shape)))


def built(layer: keras.Layer, shape: tuple[int, ...] = SHAPE) -> keras.Layer:
    layer.build(shape)
    layer.gamma.assign(np.linspace(-0.5, 2, shape[-1]))
    layer.beta.assign(np.linspace(-1, 1, shape[-1]))
    layer.moving_mean.assign(np.linspace(-1, 3, shape[-1]))
    return layer


def results(layer: keras.Layer, activation: Callable, inputs: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Outputs, gradients of inputs, gamma and beta, and the moving statistics."""

    @tf.function
    def run(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = activation(layer(inputs, training=True))
            loss = tf.reduce_sum(outputs * tf.cast(weights, outputs.dtype))
        return [outputs, *tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])]

    found = run(tf.cast(inputs, layer.compute_dtype))
    return [tf.cast(x, tf.float64).numpy() for x in (*found, layer.moving_mean, layer.moving_variance)]


def assert_close(ours: list[np.ndarray], reference: list[np.ndarray], tolerance: float) -> None:
    for a, b in zip(ours, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("activation", ["relu", "hard_swish", None])
@pytest.mark.parametrize("policy", TOLERANCE)
def test_values_gradients_and_statistics_are_those_of_keras(policy, activation):
    inputs, weights = sample()
    ours, reference = (
        built(SyncBatchNorm(activation=activation, dtype=policy)),
        built(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype="float64")),
    )
    with compiling(True):
        found = results(ours, tf.identity, inputs, weights)
    expected = results(reference, keras.activations.get(activation), inputs, weights)
    assert_close(found, expected, TOLERANCE[policy])


def test_far_from_zero_the_variance_stays_accurate():
    """Squares are summed around the moving mean: those around zero would cancel."""
    rng = np.random.default_rng(0)
    inputs, weights = (rng.normal(mean, 1.0, SHAPE).astype(np.float32) for mean in (1000.0, 0.0))
    ours = built(SyncBatchNorm())
    ours.moving_mean.assign(inputs.mean((0, 1, 2)) + 0.1)
    reference = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype="float64")
    built(reference).moving_mean.assign(ours.moving_mean)
    with compiling(True):
        found = results(ours, tf.identity, inputs, weights)
    assert_close(found, results(reference, tf.identity, inputs, weights), 1e-3)  # float32 knows a mean to 3e-5 there


def test_statistics_are_deferred():
    layer = built(SyncBatchNorm(activation="relu"))
    before = layer.moving_mean.numpy()
    with compiling(True), deferred_statistics() as updates:
        layer(sample()[0], training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)
    assert [variable.path for variable, _ in updates] == [layer.moving_mean.path, layer.moving_variance.path]


def test_maps_are_touched_by_one_compiled_operation_in_each_direction_only():
    layer = built(SyncBatchNorm(activation="relu"))

    @tf.function
    def both(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        return tape.gradient(outputs, [inputs, layer.gamma.value, layer.beta.value])

    with compiling(True):
        graph = both.get_concrete_function(tf.TensorSpec(SHAPE)).graph
    operations = graph.get_operations()
    assert sum(each.node_def.attr["_XlaMustCompile"].b for each in operations) == 2
    plain = [each for each in operations if not each.node_def.attr["_XlaMustCompile"].b]
    maps = {each.type for each in plain if any(output.shape.rank == 4 for output in each.outputs)}
    assert maps <= {"Placeholder", "Identity", "IdentityN", "Fill", "Const"}, maps


@pytest.mark.parametrize(
    ("options", "shape", "mask"),
    [({}, (6, 3), None), ({"axis": 1}, (2, 3, 4, 4), None), ({"dtype": "float64"}, SHAPE, None), ({}, SHAPE, True)],
)
def test_what_is_no_map_goes_keras_s_way(options, shape, mask):
    layer = SyncBatchNorm(activation="relu", **options)
    inputs = tf.constant(sample(shape)[0])
    mask = None if mask is None else tf.random.stateless_uniform(shape[:-1], (0, 0)) < 0.7
    expected = layer(inputs, training=True, mask=mask)
    with compiling(True):
        function = tf.function(lambda x: layer(x, training=True, mask=mask)).get_concrete_function(inputs)
    assert not any(each.node_def.attr["_XlaMustCompile"].b for each in function.graph.get_operations())
    np.testing.assert_allclose(function(inputs), expected, rtol=1e-5, atol=1e-6)


class Replicas:
    """`replica_sum` of as many threads, for what runs eagerly."""

    def __init__(self, count: int) -> None:
        self.barrier, self.values = threading.Barrier(count, timeout=60), {}

    def sum(self, value: tf.Tensor) -> tf.Tensor:
        self.values[threading.get_ident()] = value
        self.barrier.wait()
        total = tf.add_n([self.values[key] for key in sorted(self.values)])
        self.barrier.wait()
        return total

    def run(self, function: Callable[[int], Any]) -> list[Any]:
        found: dict[int, Any] = {}
        threads = [threading.Thread(target=lambda i=i: found.update({i: function(i)})) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[i] for i in sorted(found)]


def test_replicas_of_different_sizes_equal_one_device(monkeypatch):
    inputs, weights = sample()
    layers = [built(SyncBatchNorm(activation="relu")) for _ in range(3)]

    def run(layer: keras.Layer, rows: slice) -> list[tf.Tensor]:
        x = tf.constant(inputs[rows])
        with compiling(True), tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs * weights[rows])
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        return [outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value]

    expected = run(layers[2], slice(None))
    replicas = Replicas(2)
    monkeypatch.setattr(compiled_norm, "replica_sum", replicas.sum)
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: mock.Mock(num_replicas_in_sync=2))
    one, other = replicas.run(lambda i: run(layers[i], [slice(1), slice(1, None)][i]))
    joined = [tf.concat([one[i], other[i]], 0) for i in range(2)] + [one[i] + other[i] for i in (2, 3)]
    for found in ([*joined, *one[4:]], [*joined, *other[4:]]):
        assert_close([x.numpy() for x in found], [x.numpy() for x in expected], 1e-5)
