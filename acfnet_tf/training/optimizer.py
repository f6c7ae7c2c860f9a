"""SGD with momentum, poly learning rate and L2 weight decay (Section 4.2)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.config import TrainConfig


@keras.saving.register_keras_serializable("acfnet_tf")
class L2SGD(keras.optimizers.SGD):
    """SGD whose weight decay is the gradient of an L2 penalty: l2 · variable is added to the gradient, before momentum.

    Keras's own `weight_decay` is decoupled from gradient and momentum, which at momentum 0.9 makes it about ten times
    weaker. As in the paper's framework it applies to every trainable variable.

    Args:
        learning_rate: number or schedule.
        momentum: of SGD.
        l2: the paper's weight decay.
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.9, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        super().update_step(gradient + self.l2 * tf.cast(variable, gradient.dtype), variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"l2": self.l2}


def create_schedule(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """The "poly" policy; learning rate of step i (from 0): learning_rate · (1 − i / steps) ^ poly_power."""
    return keras.optimizers.schedules.PolynomialDecay(
        config.learning_rate, config.steps, end_learning_rate=0.0, power=config.poly_power
    )


def create_optimizer(config: TrainConfig) -> L2SGD:
    """The paper's optimizer."""
    # A name of its own choice would count up, and a checkpoint knows variables by name.
    return L2SGD(create_schedule(config), momentum=config.momentum, l2=config.weight_decay, name="sgd")
