"""What a GPU rounds to TF32, and what it must not. Its rounding is imitated here, as no CPU does it."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.layers import ClassAttentionBlock, ClassCenterBlock, ResizeLike
from acfnet_tf.layers.precision import exact_product, running


def rounded(x: tf.Tensor) -> tf.Tensor:
    """To the 11 leading bits, half away from zero, as tensor cores are given float32; with the gradient 1."""
    x = tf.convert_to_tensor(x)
    bits = tf.bitcast(x, tf.int32)
    return x + tf.stop_gradient(tf.bitcast(tf.bitwise.bitwise_and(bits + (1 << 12), -1 << 13), tf.float32) - x)


@pytest.fixture
def tensor_cores(monkeypatch) -> None:
    """A machine whose matrix products are in TF32."""
    einsum, matmul = tf.einsum, tf.matmul
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["a card"])
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", lambda options: None)
    monkeypatch.setattr(tf, "einsum", lambda equation, a, b: einsum(equation, rounded(a), rounded(b)))
    monkeypatch.setattr(tf, "matmul", lambda a, b: matmul(rounded(a), rounded(b)))


def call_center(x: np.ndarray, probabilities: np.ndarray) -> tf.Tensor:
    keras.utils.set_random_seed(0)
    return ClassCenterBlock(8)(x, probabilities)


def call_attention(combine: str, x: np.ndarray, probabilities: np.ndarray) -> tf.Tensor:
    keras.utils.set_random_seed(0)
    return ClassAttentionBlock(8, combine)(x[:, 0, :5], probabilities)


def call_resize(x: np.ndarray, probabilities: np.ndarray) -> tf.Tensor:
    return ResizeLike(7.3, 1.7)(x, np.zeros((1, 50, 61, 3), np.float32))


@pytest.mark.parametrize(
    "call",
    [
        call_center,
        functools.partial(call_attention, "sum"),
        functools.partial(call_attention, "concat"),
        call_resize,
    ],
)
def test_class_centers_attention_and_logits_are_not_rounded(call, rng_inputs, monkeypatch, request):
    expected = call(*rng_inputs).numpy()
    request.getfixturevalue("tensor_cores")
    with running("tf32"):
        exact = call(*rng_inputs).numpy()
    scale = np.abs(expected).max()
    assert np.abs(exact - expected).max() < 2e-6 * scale

    with running("tf32"):
        monkeypatch.setattr("acfnet_tf.layers.precision._split_bits", lambda x: (x, tf.zeros_like(x)))
        assert np.abs(call(*rng_inputs).numpy() - expected).max() > 5e-5 * scale, "the imitation does not round"


@pytest.fixture
def rng_inputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 11, 16)).astype(np.float32)
    return x, tf.nn.softmax(rng.normal(size=(2, 9, 11, 5)).astype(np.float32)).numpy()


def test_the_gradient_is_that_of_the_product(tensor_cores):
    rng = np.random.default_rng(1)
    a, b = (tf.constant(rng.normal(size=size), tf.float32) for size in ((3, 7), (2, 7, 5)))
    with running("tf32"), tf.GradientTape(persistent=True) as tape:
        tape.watch((a, b))
        exact, plain = tf.function(exact_product)(tf.matmul, a, b, axes=(1, 1)), tf.matmul(a, b)
    for x in (a, b):
        np.testing.assert_allclose(tape.gradient(exact, x), tape.gradient(plain, x), rtol=2e-3, atol=1e-3)


def test_there_is_one_product_where_nothing_rounds():
    graph = tf.function(exact_product).get_concrete_function(tf.matmul, tf.ones((3, 7)), tf.ones((7, 5)), axes=(1, 0))
    assert [op.type for op in graph.graph.get_operations() if op.type != "Placeholder"] == ["MatMul", "Identity"]


@pytest.mark.parametrize(("precision", "enabled"), [("float32", False), ("tf32", True), ("mixed_bfloat16", True)])
def test_the_switch_is_turned_back(precision, enabled):
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    with running(precision):
        assert tf.config.experimental.tensor_float_32_execution_enabled() == enabled
    assert tf.config.experimental.tensor_float_32_execution_enabled() == before


def test_graphs_stay_channels_last_where_matrix_units_multiply(monkeypatch):
    chosen = {}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["a card"])
    monkeypatch.setattr(tf.config.optimizer, "get_experimental_options", lambda: chosen)
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", chosen.update)
    with running("float32"):
        assert not chosen  # as TensorFlow has it
    with running("tf32"):
        assert chosen == {"layout_optimizer": False}
    with running("float32"):
        assert chosen == {"layout_optimizer": True}
