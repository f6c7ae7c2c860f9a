"""What is marked to be compiled is one operation in both passes, where that is asked for, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tensorflow as tf

from acfnet_tf.layers.compilation import compiled, compiling, is_compiling, pays


@pytest.fixture
def asked_anew() -> Iterator[None]:
    pays.cache_clear()
    yield
    pays.cache_clear()


@pytest.fixture
def card(monkeypatch) -> None:
    """A machine with a GPU, on which XLA compiles what it compiles here."""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["a card"])


def test_it_does_not_pay_without_a_gpu(asked_anew):
    assert not pays()


def test_it_pays_on_a_gpu(asked_anew, card):
    assert pays()


def test_it_does_not_pay_where_xla_lacks_something(asked_anew, card, monkeypatch):
    def lacking(*_: tf.Tensor) -> None:
        raise tf.errors.InternalError(None, None, "libdevice not found at ./libdevice.10.bc")

    monkeypatch.setattr(tf, "function", lambda function, **options: lacking)
    assert not pays()


@compiled
def softplus(x: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    return tf.math.log(1.0 + tf.exp(slope * x))


@tf.function
def value_and_gradient(x: tf.Tensor, slope: tf.Tensor) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch([x, slope])
        value = softplus(x, slope)
    return [value, *tape.gradient(value, [x, slope])]


def must_compile(graph: tf.Graph) -> list[str]:
    """The kinds of operations that XLA compiles."""
    return [each.type for each in graph.get_operations() if each.node_def.attr["_XlaMustCompile"].b]


def test_values_and_gradients_are_the_same_and_of_one_operation_each():
    given = tf.linspace(-2.0, 3.0, 7), tf.constant(1.5)
    plain = value_and_gradient.python_function(*given)
    with compiling(True):
        function = tf.function(value_and_gradient.python_function).get_concrete_function(*given)
    assert [kind.removeprefix("Stateful") for kind in must_compile(function.graph)] == ["PartitionedCall"] * 2
    assert not {"Exp", "Log"} & {each.type for each in function.graph.get_operations()}
    for ours, expected in zip(function(*given), plain, strict=True):
        tf.debugging.assert_near(ours, expected)


def test_nothing_is_compiled_where_nobody_asks():
    given = tf.ones(3), tf.constant(1.0)
    with compiling(True), compiling(False):
        assert not must_compile(tf.function(value_and_gradient.python_function).get_concrete_function(*given).graph)
    assert not is_compiling()
    assert not must_compile(tf.function(value_and_gradient.python_function).get_concrete_function(*given).graph)


def test_what_raises_inside_ends_the_asking():
    with pytest.raises(ZeroDivisionError), compiling(True):
        raise ZeroDivisionError
    assert not is_compiling()
