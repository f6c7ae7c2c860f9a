"""The optimizer of Section 4.2 against plain NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import TrainConfig
from acfnet_tf.training.optimizer import L2SGD, create_optimizer


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


def test_optimizer_is_rebuilt_from_its_config():
    config = keras.optimizers.serialize(L2SGD(0.1, momentum=0.8, l2=0.02))
    rebuilt = keras.optimizers.deserialize(config)
    assert (rebuilt.l2, rebuilt.momentum, float(rebuilt.learning_rate)) == (0.02, 0.8, pytest.approx(0.1))
