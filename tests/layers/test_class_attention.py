"""ClassAttentionBlock is Eq. 3 ("sum") and Eq. 5 ("concat") of the paper with the refining 1×1 convolution."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import ClassAttentionBlock
from tests import oracle
from tests.gradients import gradients_beside_plain
from tests.oracle import assert_close, random_probabilities
from tests.saving import assert_survives_saving

EQUATIONS = {"sum": oracle.class_attention_sum, "concat": oracle.class_attention_concat}
both = pytest.mark.parametrize("combine", EQUATIONS)


def built(layer: ClassAttentionBlock, centers: np.ndarray, probabilities: np.ndarray, seed: int = 0):
    """The layer with a random kernel and a bias that is not zero."""
    generator = np.random.default_rng(seed)
    layer.build(centers.shape, probabilities.shape)
    layer.kernel.assign(generator.normal(size=layer.kernel.shape))
    layer.bias.assign(generator.normal(size=layer.bias.shape))
    return layer


def materialised(combine: str, centers: tf.Tensor, probabilities: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor):
    """The attention map of every pixel, then the 1×1 convolution, differentiable."""
    weighted = probabilities[..., None] * centers[:, None, None]
    if combine == "sum":
        attended = tf.reduce_sum(weighted, axis=3)
    else:
        attended = tf.reshape(weighted, (*weighted.shape[:3], weighted.shape[3] * weighted.shape[4]))
    return tf.einsum("bhwc,cd->bhwd", attended, kernel) + bias


@both
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    classes=st.integers(1, 20),
    center_channels=st.integers(1, 16),
    channels=st.integers(1, 16),
    peak=st.sampled_from([0.0, 1.0, 5.0, 200.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_equation_followed_by_a_1x1_convolution(
    combine, batch, height, width, classes, center_channels, channels, peak, seed
):
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(batch, classes, center_channels)).astype(np.float32)
    probabilities = random_probabilities(generator, (batch, height, width, classes), peak, absent=(classes - 1) // 2)
    layer = built(ClassAttentionBlock(channels, combine), centers, probabilities, seed)
    expected = EQUATIONS[combine](centers, probabilities, layer.kernel.numpy(), layer.bias.numpy())
    assert_close(layer(centers, probabilities), expected)


@both
def test_gradients_equal_those_of_the_plain_form(combine):
    generator = np.random.default_rng(0)
    centers = tf.constant(generator.normal(size=(2, 7, 3)).astype(np.float32))
    probabilities = tf.constant(random_probabilities(generator, (2, 5, 4, 7), 2.0, absent=2))
    direction = generator.normal(size=(2, 5, 4, 6))
    layer = built(ClassAttentionBlock(6, combine), centers, probabilities)
    plain = functools.partial(materialised, combine)
    for one, other in gradients_beside_plain(layer, plain, (centers, probabilities), direction):
        assert_close(one, other.numpy())


@both
def test_gradients_equal_central_differences(combine):
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(2, 3, 2))
    probabilities = random_probabilities(generator, (2, 2, 3, 3), 1.0).astype(np.float64)
    layer = built(ClassAttentionBlock(2, combine, dtype="float64"), centers, probabilities)
    theoretical, numeric = tf.test.compute_gradient(layer, [centers, probabilities], delta=1e-5)
    for one, other in zip(theoretical, numeric, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


def largest_tensor(function, *arguments: tf.Tensor) -> int:
    """Elements of the largest output of any op in the graphs of the function and of its gradient."""

    @tf.function
    def with_gradient(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = function(*arguments)
        return outputs, tape.gradient(outputs, [*arguments, *tape.watched_variables()])

    graph = with_gradient.get_concrete_function(*arguments).graph
    assert not graph.as_graph_def().library.function, "ops hidden in nested functions"
    shapes = [output.shape for op in graph.get_operations() for output in op.outputs]
    assert all(shape.is_fully_defined() for shape in shapes)
    return max(math.prod(shape) for shape in shapes)


def test_concat_never_holds_the_map_of_n_times_c_channels_neither_forward_nor_backward():
    size, classes, center_channels, channels = 12, 7, 16, 16
    generator = np.random.default_rng(0)
    centers = tf.constant(generator.normal(size=(1, classes, center_channels)).astype(np.float32))
    probabilities = tf.constant(random_probabilities(generator, (1, size, size, classes), 1.0))
    layer = built(ClassAttentionBlock(channels, "concat"), centers, probabilities)
    kernel, bias = layer.kernel.value, layer.bias.value
    everything = size * size * classes * center_channels
    plain = largest_tensor(lambda *inputs: materialised("concat", *inputs, kernel, bias), centers, probabilities)
    assert plain == everything
    assert largest_tensor(layer, centers, probabilities) <= max(size * size * channels, kernel.shape.num_elements())


@both
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_under_a_mixed_policy_all_products_are_float32(combine, policy):
    compute = tf.bfloat16 if policy == "mixed_bfloat16" else tf.float16
    generator = np.random.default_rng(0)
    centers = tf.cast(generator.normal(size=(1, 19, 64)), compute)
    probabilities = random_probabilities(generator, (1, 9, 9, 19), 1.0)
    layer = built(ClassAttentionBlock(8, combine, dtype=policy), centers, probabilities)
    features = layer(centers, probabilities)
    assert features.dtype == compute
    assert layer.kernel.dtype == "float32"
    exact = EQUATIONS[combine](
        tf.cast(centers, tf.float64).numpy(), probabilities, layer.kernel.numpy(), layer.bias.numpy()
    )
    rounding = 2.0**-8 if policy == "mixed_bfloat16" else 2.0**-11
    np.testing.assert_allclose(tf.cast(features, tf.float64), exact, rtol=rounding, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_a_mixed_policy_does_not_round_the_probabilities(policy):
    """Centers ±1000 with probabilities (1 ± 2^-13)/2: the output is their difference, gone once they are rounded."""
    probabilities = np.array([0.5 * (1 + 2.0**-13), 0.5 * (1 - 2.0**-13)], np.float32).reshape(1, 1, 1, 2)
    centers = np.array([1000.0, -1000.0], np.float32).reshape(1, 2, 1)
    layer = built(ClassAttentionBlock(1, dtype=policy), centers, probabilities)
    layer.kernel.assign([[1.0]])
    layer.bias.assign([0.0])
    features = tf.cast(layer(centers, probabilities), tf.float32).numpy()
    assert features.item() == pytest.approx(1000 * 2.0**-13, rel=2.0**-8)


@both
def test_saving_and_changing_sizes(tmp_path, combine):
    generator = np.random.default_rng(0)
    samples = [
        [generator.normal(size=(2, 3, 5)).astype(np.float32), random_probabilities(generator, (2, *size, 3), 1.0)]
        for size in [(1, 1), (4, 7), (9, 2)]
    ]
    layer = ClassAttentionBlock(6, combine, name="attention")
    assert_survives_saving(layer, [(3, 5), (None, None, 3)], samples, tmp_path)


@both
def test_symbolic_shape_and_dtype_are_those_of_the_result(combine):
    layer = ClassAttentionBlock(6, combine, dtype="mixed_bfloat16")
    spec = layer(keras.Input((3, 5)), keras.Input((None, None, 3)))
    assert spec.shape == (None, None, None, 6)
    assert spec.dtype == "bfloat16"


def test_default_is_the_sum_with_512_channels_as_in_the_paper():
    layer = ClassAttentionBlock()
    assert (layer.channels, layer.combine) == (512, "sum")


def test_an_unknown_combination_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r'"sum" or "concat".*product'):
        ClassAttentionBlock(combine="product")
