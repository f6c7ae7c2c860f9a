"""The optimizer of Section 4.2 against plain NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import TrainConfig
from acfnet_tf.training.optimizer import L2SGD, AdamW, create_optimizer


def test_weight_decay_is_l2_in_the_gradient_before_momentum():
    optimizer = L2SGD(0.1, momentum=0.9, l2=0.01)
    variable = keras.Variable([1.0, -2.0])
    weight, velocity = np.array([1.0, -2.0]), np.zeros(2)
    for gradient in ([0.5, 0.1], [-0.2, 0.3], [0.0, 0.0]):
        optimizer.apply([tf.constant(gradient)], [variable])
        velocity = 0.9 * velocity + np.array(gradient) + 0.01 * weight
        weight = weight - 0.1 * velocity
    np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-6)


def test_learning_rate_is_poly():
    optimizer = create_optimizer(TrainConfig(steps=40_000))
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    for step in (0, 1, 20_000, 39_999):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(0.01 * (1 - step / 40_000) ** 0.9, rel=2e-3)


def apply(optimizer: L2SGD, variables: list[keras.Variable], *gradients: float) -> list[float]:
    optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)
    return [float(variable) for variable in variables]


def test_the_heads_learn_at_a_multiple_of_the_rate():
    config = TrainConfig(learning_rate=0.1, momentum=0.0, weight_decay=0.0, head_lr_multiplier=10.0)
    backbone, head = keras.Variable(1.0, name="backbone"), keras.Variable(1.0, name="head")
    assert apply(create_optimizer(config, [head]), [backbone, head], 0.5, 0.5) == pytest.approx([0.95, 0.5])


def test_the_norm_of_all_gradients_together_is_clipped():
    config = TrainConfig(learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=1.0)
    variables = [keras.Variable(0.0), keras.Variable(0.0)]
    assert apply(create_optimizer(config), variables, 3.0, 4.0) == pytest.approx([-0.6, -0.8])
    assert apply(create_optimizer(config), variables, 0.1, 0.2) == pytest.approx([-0.7, -1.0])


def test_averages_of_the_weights_follow_every_step():
    optimizer = create_optimizer(TrainConfig(learning_rate=1.0, momentum=0.0, weight_decay=0.0, ema_momentum=0.75))
    variable = keras.Variable(2.0)
    optimizer.build([variable])
    expected = 2.0
    for gradient in (1.0, -3.0, 0.5):
        (weight,) = apply(optimizer, [variable], gradient)
        expected = 0.75 * expected + 0.25 * weight
        assert float(optimizer.averages[0]) == pytest.approx(expected, rel=1e-3)


def test_adamw_decays_kernels_only_apart_from_the_gradient():
    config = TrainConfig(
        optimizer="adamw", learning_rate=0.1, weight_decay=0.01, head_lr_multiplier=2.0, ema_momentum=0.0
    )
    kernel, head, bias = (keras.Variable(2.0, name=name) for name in ("kernel", "head_kernel", "bias"))
    optimizer = create_optimizer(config, [head])
    # Adam's first step is the learning rate, whatever the size of the gradient.
    expected = [2 - 2 * 0.1 * 0.01 - 0.1, 2 - 2 * 0.1 * 0.01 - 0.2, 2 - 0.1]
    assert apply(optimizer, [kernel, head, bias], 0.5, 3.0, 0.001) == pytest.approx(expected, rel=1e-3)
    assert [float(average) for average in optimizer.averages] == pytest.approx(expected, rel=1e-3)


def test_adamw_is_that_of_keras_step_by_step():
    rng = np.random.default_rng(0)
    optimizers = [
        kind(0.01, weight_decay=0.05, beta_1=0.8, global_clipnorm=2.0) for kind in (AdamW, keras.optimizers.AdamW)
    ]
    optimizers[1].exclude_from_weight_decay(var_names=["bias"])
    variables = [
        [keras.Variable(np.full((3, 2), 2.0), name="kernel"), keras.Variable([1.0], name="bias")] for _ in "12"
    ]
    for _ in range(3):
        gradients = [tf.constant(rng.normal(0, 2, size), tf.float32) for size in ((3, 2), 1)]
        for optimizer, updated in zip(optimizers, variables, strict=True):
            optimizer.apply(gradients, updated)
        for ours, reference in zip(*variables, strict=True):
            np.testing.assert_allclose(ours, reference, rtol=1e-6)


@pytest.mark.parametrize("kind", [L2SGD, AdamW])
def test_a_step_that_is_not_finite_counts_and_changes_nothing(kind):
    optimizer = kind(0.1, average_momentum=0.9, **({"l2": 0.1, "momentum": 0.9} if kind is L2SGD else {}))
    variable = keras.Variable([2.0, -1.0], name="kernel")
    optimizer.build([variable])
    optimizer.apply_summed([tf.constant([1.0, 1.0])], [variable], tf.constant(True))
    state = [variable, *optimizer.variables]
    before = {each.path: each.numpy() for each in state}
    optimizer.apply_summed([tf.constant([np.nan, 1.0])], [variable], tf.constant(False))
    changed = [each.path for each in state if not np.array_equal(each.numpy(), before[each.path])]
    assert changed == [f"{optimizer.name}/iteration"]


def test_optimizer_is_rebuilt_from_its_config():
    config = keras.optimizers.serialize(L2SGD(0.1, momentum=0.8, l2=0.02))
    rebuilt = keras.optimizers.deserialize(config)
    assert (rebuilt.l2, rebuilt.momentum, float(rebuilt.learning_rate)) == (0.02, 0.8, pytest.approx(0.1))


def test_keras_s_own_average_is_refused():
    with pytest.raises(ValueError, match="average_momentum"):
        L2SGD(0.1, use_ema=True)
