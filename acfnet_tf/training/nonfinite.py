"""Steps whose loss or gradient is not finite: what went wrong, and on which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.layers.norm import deferred_statistics
from acfnet_tf.losses.heads import HeadLosses
from acfnet_tf.models.loading import not_finite
from acfnet_tf.training.strategy import Workers

LISTED_FILES = 8

TAME = "Lower train.learning_rate or set train.clip_norm"


def check_state(variables: Mapping[str, tf.Variable], step: int) -> None:
    """Before a checkpoint, as an update can be too large though its gradient was finite.

    Raises:
        UserError: of the whole state of the training, which is the same on all workers, something is not finite.
    """
    if broken := not_finite(variables):
        raise UserError(f"after step {step}, {broken}. {TAME}; the run continues from its last checkpoint")


class NonFiniteSteps:
    """Counts the steps that were left out because a number was not finite, and ends the training at one too many.

    Args:
        allowed: how many such steps a run may have.
        workers: that share every batch.
        model, loss: of the training, to try single samples again.

    Attributes:
        count: such steps since the run began; to checkpoint.
    """

    def __init__(self, allowed: int, workers: Workers, model: keras.Model, loss: HeadLosses) -> None:
        self.allowed, self.workers, self.model, self.loss = allowed, workers, model, loss
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)

    def report(self, step: int, losses: dict[str, float], batch: dict[str, tf.Tensor], files: Sequence[Sample]) -> str:
        """Counts a step. All workers must call it.

        Args:
            step: its number, from 1.
            losses: of the step, by head.
            batch: this worker's part of the global batch.
            files: of the global batch, in its order.

        Returns:
            A line for the user.

        Raises:
            UserError: it was one too many; the weights are as they were before the step.
        """
        heads = [head for head, value in losses.items() if head != "total" and not np.isfinite(value)]
        what = f"the loss of {' and '.join(heads)}" if heads else "not the loss, but a gradient or a statistic"
        where, remedy, hopeless = self._blame(batch, files)
        self.count.assign_add(1)
        count = int(self.count.numpy())
        line = f"step {step}: {what} is not finite. The step has changed no weights; {where}"
        if count <= self.allowed and not hopeless:
            return f"{line}. Left out ({count} of at most {self.allowed})."
        if not hopeless:
            remedy += f", or leave such steps out by --set train.max_nonfinite_steps={count} or more"
        raise UserError(f"{line}. {remedy}; the run continues from its last checkpoint")

    def _blame(self, batch: dict[str, tf.Tensor], files: Sequence[Sample]) -> tuple[str, str, bool]:
        """What is to blame for a step, what helps, and whether no later step can be better."""
        if broken := not_finite({variable.path: variable for variable in self.model.weights}):
            return broken, TAME, True
        bad = np.zeros(len(files), np.int64)
        places = batch["index"].numpy() % len(files)
        for image, label, place in zip(batch["image"], batch["label"], places, strict=True):
            bad[place] = self._is_bad(image, label)
        bad = self.workers.sum(bad) > 0
        names = [str(sample.image) for sample, guilty in zip(files, bad, strict=True) if guilty or not bad.any()]
        named = ", ".join(names[:LISTED_FILES]) + (" …" if len(names) > LISTED_FILES else "")
        noise = tf.random.stateless_uniform(batch["image"].shape[1:], (0, 0), 0, 255)
        on_noise = bool(bad.any()) and self._is_bad(noise, tf.zeros_like(batch["label"][0]))
        if on_noise or (bad.all() and len(bad) > 1):
            where = "the weights have grown so large that no image, or hardly any, gives finite numbers"
            return where, TAME, on_noise and bool(bad.all())
        if bad.any():
            where = f"{bad.sum()} of its {len(files)} images are not finite by themselves: {named}"
            return where, f"Mend or remove the images. {TAME}", False
        return f"no image is to blame by itself; its images are: {named}", TAME, False

    def _is_bad(self, image: tf.Tensor, label: tf.Tensor) -> bool:
        with deferred_statistics():  # They are dropped, as this is no training.
            losses = self.loss(self.model(image[None], training=True), label[None])
        return not np.isfinite([float(value) for value in losses.values()]).all()
