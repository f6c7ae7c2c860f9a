"""Steps whose loss, gradient or statistics are not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.models.loading import not_finite

ADVICE = "Lower train.learning_rate or set train.clip_norm"

Batch = Mapping[str, tf.Tensor]


def check_state(variables: Mapping[str, tf.Variable], step: int) -> None:
    """Makes sure, before a checkpoint, that no update was too large: it can be, though its gradient was finite.

    Raises:
        UserError: of the whole state of the training, which is the same on all workers, something is not finite.
    """
    if broken := not_finite(variables):
        raise UserError(f"after step {step}, {broken}. {ADVICE}; the run continues from its last checkpoint")


class NonFiniteSteps:
    """Counts the steps that were left out because a number was not finite, and ends the training at one too many.

    Args:
        allowed: how many such steps a run may have.
        blame: says of (this worker's part of a batch, files of the whole batch) what is to blame, what helps, and
            whether no later step can be better.

    Attributes:
        count: such steps since the run began; to checkpoint.
    """

    def __init__(self, allowed: int, blame: Callable[[Batch, Sequence[Sample]], tuple[str, str, bool]]) -> None:
        self.allowed, self.blame = allowed, blame
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)

    def report(self, step: int, losses: dict[str, float], batch: Batch, files: Sequence[Sample]) -> str:
        """Counts a step. All workers must call it.

        Args:
            step: its number, from 1.
            batch: this worker's part of the global batch.
            files: of the whole batch, in its order.

        Returns:
            A line for the user.

        Raises:
            UserError: it was one too many; the weights are as they were before the step.
        """
        heads = [head for head, value in losses.items() if head != "total" and not np.isfinite(value)]
        what = f"the loss of {' and '.join(heads)}" if heads else "not the loss, but a gradient or a statistic"
        where, remedy, hopeless = self.blame(batch, files)
        self.count.assign_add(1)
        count = int(self.count.numpy())
        line = f"step {step}: {what} is not finite. The step has changed no weights; {where}"
        if count <= self.allowed and not hopeless:
            return f"{line}. Left out ({count} of at most {self.allowed})."
        if not hopeless:
            remedy += f", or leave such steps out by --set train.max_nonfinite_steps={count} or more"
        raise UserError(f"{line}. {remedy}; the run continues from its last checkpoint")
