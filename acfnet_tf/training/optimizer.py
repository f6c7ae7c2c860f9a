"""SGD with momentum, poly learning rate and L2 weight decay (Section 4.2); AdamW for transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.config import TrainConfig


class OptimizerMixin:
    """What every optimizer here has beside its rule; a class to be mixed into one of Keras's.

    `apply`, which `fit` calls, sums the gradients over the replicas *before* it clips them, so that `global_clipnorm`
    clips the gradient of the global batch (Keras clips first). A loop that has summed them calls `apply_summed`.

    Args:
        multipliers: of the learning rate, by the path of the variable; 1 for all others.
        average_momentum: where given, a moving average of the weights is kept: average = average_momentum · average +
            (1 − average_momentum) · weight after every step.
        **kwargs: of the optimizer.

    Raises:
        ValueError: `use_ema`, Keras's own moving average, which fails on several replicas.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        multipliers: Mapping[str, float] | None = None,
        average_momentum: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        if self.use_ema:
            raise ValueError("use_ema fails on several replicas: set average_momentum instead")
        self.multipliers, self.average_momentum = dict(multipliers or {}), average_momentum
        self.averages: list[keras.Variable] = []
        self._finite: tf.Tensor | None = None

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the optimizer's variables. Averages begin at the weights as they are now."""
        if self.built:
            return
        super().build(variables)
        if self.average_momentum is not None:
            # They are initialised so, and not assigned, which `fit` would trace or drop.
            self.averages = [
                self.add_variable_from_reference(variable, "average", lambda *_, of=variable, **__: of.value)
                for variable in variables
            ]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        multiplier = self.multipliers.get(self._trainable_variables[index].path, 1.0)
        super().update_step(gradient, variable, learning_rate * multiplier)
        if self.averages:
            average = self.averages[index]
            self.assign(average, average * self.average_momentum + variable * (1 - self.average_momentum))

    def apply(self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Updates the variables by the gradients of this replica's part of the loss."""
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        pairs = super()._all_reduce_sum_gradients(list(zip(grads, variables, strict=True)))
        self.apply_summed([gradient for gradient, _ in pairs], trainable_variables)

    def apply_summed(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
        finite: tf.Tensor | None = None,
    ) -> None:
        """Updates the variables by gradients that are summed over the replicas already, the same on each.

        Args:
            finite: () bool; where it is false, the step counts but changes nothing.
        """
        self._finite = finite
        super().apply(grads, trainable_variables)
        self._finite = None

    def assign(self, variable: tf.Variable, value: tf.Tensor) -> None:
        super().assign(variable, value if self._finite is None else tf.where(self._finite, value, variable))

    def assign_add(self, variable: tf.Variable, value: tf.Tensor) -> None:
        super().assign_add(variable, value if self._finite is None else tf.where(self._finite, value, 0))

    def assign_sub(self, variable: tf.Variable, value: tf.Tensor) -> None:
        super().assign_sub(variable, value if self._finite is None else tf.where(self._finite, value, 0))

    def _all_reduce_sum_gradients(self, grads_and_vars: list[tuple[tf.Tensor, tf.Variable]]) -> list:
        return grads_and_vars  # `apply` has summed them.

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"multipliers": self.multipliers, "average_momentum": self.average_momentum}


@keras.saving.register_keras_serializable("acfnet_tf")
class L2SGD(OptimizerMixin, keras.optimizers.SGD):
    """SGD whose weight decay is the gradient of an L2 penalty: l2 · variable is added to the gradient, before momentum.

    Keras's own `weight_decay` is decoupled from gradient and momentum, which at momentum 0.9 makes it about ten times
    weaker. As in the paper's framework it applies to every trainable variable.

    Args:
        l2: the paper's weight decay.
        **kwargs: of `OptimizerMixin` and Keras's SGD.
    """

    def __init__(self, learning_rate: Any = 0.01, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        super().update_step(gradient + self.l2 * tf.cast(variable, gradient.dtype), variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"l2": self.l2}


@keras.saving.register_keras_serializable("acfnet_tf")
class AdamW(OptimizerMixin, keras.optimizers.AdamW):
    """Adam with decoupled weight decay, of kernels only: what transformers are trained with."""

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        if self._use_weight_decay(variable):
            self.assign_sub(variable, variable * self.weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Keras's way changes the variables also at a step that is left out; `update_step` has done it."""


def create_schedule(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """The "poly" policy; learning rate of step i (from 0): learning_rate · (1 − i / steps) ^ poly_power."""
    return keras.optimizers.schedules.PolynomialDecay(
        config.learning_rate, config.steps, end_learning_rate=0.0, power=config.poly_power
    )


def create_optimizer(config: TrainConfig, heads: Sequence[keras.Variable] = ()) -> L2SGD | AdamW:
    """The paper's optimizer, or AdamW.

    Args:
        heads: variables whose learning rate is multiplied by `config.head_lr_multiplier`.
    """
    common = {
        "multipliers": {variable.path: config.head_lr_multiplier for variable in heads},
        "average_momentum": config.ema_momentum,
        "global_clipnorm": config.clip_norm,
        # A name of its own choice would count up, and a checkpoint knows variables by name.
        "name": config.optimizer,
    }
    schedule = create_schedule(config)
    if config.optimizer == "sgd":
        return L2SGD(schedule, l2=config.weight_decay, momentum=config.momentum, **common)
    return AdamW(schedule, weight_decay=config.weight_decay, beta_1=config.momentum, **common)
