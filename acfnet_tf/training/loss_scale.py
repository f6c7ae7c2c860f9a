"""Dynamic loss scaling, which keeps small gradients above zero in float16."""

from __future__ import annotations

import tensorflow as tf


class LossScale:
    """A factor on the loss: halved at a step whose gradients overflow, doubled after `growth_steps` that did not.

    A step that overflows changes no weights. (`keras.optimizers.LossScaleOptimizer` would not count it either, and the
    samples of a step follow from its number.)

    Args:
        growth_steps: steps without overflow before the scale is doubled; 0: the scale never changes.

    Attributes:
        variables: to checkpoint, by name.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000) -> None:
        self.growth_steps = growth_steps
        common = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.scale = tf.Variable(initial, dtype=tf.float32, **common)
        self.good_steps = tf.Variable(0, dtype=tf.int64, **common)
        self.variables = {"loss_scale/scale": self.scale, "loss_scale/good_steps": self.good_steps}

    def update(self, finite: tf.Tensor) -> None:
        """Adapts the scale after a step; `finite`, () bool, says whether its gradients were."""
        if not self.growth_steps:
            return
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grown = tf.where(good_steps < self.growth_steps, self.scale, self.scale * 2)
        self.scale.assign(tf.where(finite, grown, self.scale / 2))
        self.good_steps.assign(good_steps % self.growth_steps)
