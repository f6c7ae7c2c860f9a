"""Dilated convolutions: one value and one gradient on every processor, at every rate, and never by SpaceToBatch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import Conv2D
from acfnet_tf.layers.dilation import LARGE_RATE, dilated_convolution, never_differentiated
from tests import oracle
from tests.oracle import assert_close

ROOT = Path(__file__).parents[2]
RATES = (2, LARGE_RATE - 1, LARGE_RATE, 12)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def gradients(inputs: tf.Tensor, kernel: tf.Tensor, rate: int, upstream: tf.Tensor) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = dilated_convolution(inputs, kernel, rate)
    return tape.gradient(outputs, [inputs, kernel], upstream)


def expected_gradients(inputs: np.ndarray, kernel: np.ndarray, rate: int, upstream: np.ndarray) -> list[np.ndarray]:
    """Tap by tap in float64: the transposed convolution, and what each tap has seen times what became of it."""
    size, (height, width) = len(kernel), inputs.shape[1:3]
    pad = rate * (size // 2)
    padded = np.pad(inputs, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    of_inputs, of_kernel = np.zeros_like(padded), np.zeros_like(kernel)
    for row in range(size):
        for column in range(size):
            window = np.s_[:, row * rate : row * rate + height, column * rate : column * rate + width]
            of_inputs[window] += upstream @ kernel[row, column].T
            of_kernel[row, column] = np.einsum("bhwc,bhwd->cd", padded[window], upstream)
    return [of_inputs[:, pad : pad + height, pad : pad + width], of_kernel]


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.sampled_from([1, 3, 5]),
    rate=st.sampled_from([*RATES, 36]),
    seed=st.integers(0, 2**31),
)
def test_value_and_gradients_equal_numpy_at_any_size_and_rate(batch, height, width, size, rate, seed):
    inputs, kernel = noise(batch, height, width, 3, seed=seed), noise(size, size, 3, 4, seed=seed + 1)
    upstream = noise(batch, height, width, 4, seed=seed + 2)
    single = [tf.constant(array, tf.float32) for array in (inputs, kernel, upstream)]
    assert_close(dilated_convolution(*single[:2], rate), oracle.conv2d(inputs, kernel, dilation=rate))
    found = gradients(*single[:2], rate, single[2])
    for one, other in zip(found, expected_gradients(inputs, kernel, rate, upstream), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_gradients_exist_in_every_dtype(dtype, rate, in_graph):
    arrays = [tf.cast(noise(*shape), dtype) for shape in ((1, 15, 6, 3), (3, 3, 3, 4), (1, 15, 6, 4))]
    inputs, kernel, upstream = (np.asarray(tf.cast(array, tf.float64)) for array in arrays)
    function = tf.function(gradients) if in_graph else gradients
    found = function(*arrays[:2], rate, arrays[2])
    assert {gradient.dtype.name for gradient in found} == {dtype}
    tolerance = 1e-5 if dtype in ("float32", "float64") else 2e-2
    for one, other in zip(found, expected_gradients(inputs, kernel, rate, upstream), strict=True):
        assert_close(tf.cast(one, tf.float64), other, tolerance)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("rate", RATES)
def test_a_layer_trains_under_every_policy_and_never_goes_through_space_to_batch(policy, rate):
    layer = Conv2D(4, 3, dilation_rate=rate, dtype=policy)
    inputs = tf.constant(noise(1, 9, 9, 3), layer.compute_dtype)
    layer.build(inputs.shape)

    @tf.function
    def with_gradient(inputs):
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.kernel.value)

    assert with_gradient(inputs).dtype == tf.float32
    types = {op.type for op in with_gradient.get_concrete_function(inputs).graph.get_operations()}
    assert not {"SpaceToBatchND", "BatchToSpaceND"} & types


@pytest.mark.parametrize("rate", [2, 12])
def test_gradients_have_gradients(rate):
    """Of the sum of squares of the gradient of the inputs, by the kernel: against central differences."""
    inputs, kernel = (tf.constant(noise(*shape)) for shape in ((1, 15, 4, 2), (3, 3, 2, 2)))

    def penalty(kernel: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.reduce_sum(tf.square(dilated_convolution(inputs, kernel, rate)))
        return tf.reduce_sum(tf.square(tape.gradient(outputs, inputs)))

    (theoretical,), (numeric,) = tf.test.compute_gradient(penalty, [kernel], delta=1e-4)
    assert_close(theoretical, numeric, 1e-5)


@pytest.mark.parametrize("rate", RATES)
def test_groups_train(rate):
    layer, inputs = Conv2D(4, 3, groups=2, dilation_rate=rate), tf.constant(noise(1, 15, 6, 4), tf.float32)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    halves = [oracle.conv2d(inputs[..., h], layer.kernel[..., h], dilation=rate) for h in np.s_[:2, 2:]]
    assert_close(outputs, np.concatenate(halves, axis=-1))
    assert np.abs(tape.gradient(outputs, layer.kernel.value)).max() > 0


@pytest.mark.parametrize("rate", RATES)
def test_what_is_never_differentiated_is_one_convolution(rate):
    layer = Conv2D(4, 3, dilation_rate=rate)
    layer.build((None, None, None, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def plain(inputs: tf.Tensor) -> tf.Tensor:
        with never_differentiated():
            return layer(inputs)

    types = [op.type for op in plain.get_concrete_function().graph.get_operations()]
    assert "Conv2D" in types and "IdentityN" not in types
    inputs = noise(1, 9, 9, 3).astype(np.float32)
    assert_close(plain(inputs), layer(inputs).numpy())


@pytest.mark.parametrize("rate", RATES)
def test_it_is_the_same_where_it_is_compiled(rate):
    arrays = [tf.constant(noise(*shape), tf.float32) for shape in ((1, 10, 7, 3), (3, 3, 3, 4), (1, 10, 7, 4))]
    compiled = tf.function(gradients, jit_compile=True)(*arrays[:2], rate, arrays[2])
    for one, other in zip(compiled, gradients(*arrays[:2], rate, arrays[2]), strict=True):
        assert_close(one, other.numpy())


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_gradients_exist_with_and_without_onednn(onednn):
    """Each in a process of its own: TensorFlow decides when it loads."""
    program = (
        "import tensorflow as tf; from acfnet_tf.layers import Conv2D\n"
        "for rate in (2, 12):\n"
        "    layer, inputs = Conv2D(2, 3, dilation_rate=rate), tf.ones((1, 5, 5, 2))\n"
        "    with tf.GradientTape() as tape: loss = tf.reduce_sum(layer(inputs))\n"
        "    print(tape.gradient(loss, layer.kernel.value).numpy()[:, :, 0, 0].tolist())\n"
    )
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    near, far = [[9, 15, 9], [15, 25, 15], [9, 15, 9]], [[0, 0, 0], [0, 25, 0], [0, 0, 0]]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [near, far]
