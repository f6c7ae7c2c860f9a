"""One training step on the global batch, on all replicas, in one piece or in micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.losses.replicas import replica_sum
from acfnet_tf.losses.segmentation import SegmentationLoss


class TrainStep:
    """Forward, loss, backward, update.

    Every replica contributes its share of the global loss, and gradients are summed over replicas, so that N replicas
    compute what one device would on the same global batch. Where a replica's batch does not fit into memory, it goes
    through in micro-batches whose gradients are added up; BatchNorm's statistics are then those of a micro-batch (on
    all replicas).

    Args:
        strategy: under whose scope model and optimizer were made.
        model: with a dict of logits as output.
        optimizer: a Keras optimizer, built.
        loss: returns this replica's part of the losses.
        replica_batch: samples of a global batch that one replica gets.
        micro_batch: samples that go through a replica at once; divides `replica_batch`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: SegmentationLoss,
        replica_batch: int,
        micro_batch: int,
    ) -> None:
        self.strategy, self.model, self.optimizer, self.loss = strategy, model, optimizer, loss
        self.ignore_label = loss.ignore_label
        self.micro_batch = micro_batch
        self.micro_steps = replica_batch // micro_batch
        self.variables = [variable.value for variable in model.trainable_variables]
        self.gradients = []
        if self.micro_steps > 1:
            with strategy.scope():
                self.gradients = [
                    tf.Variable(
                        tf.zeros_like(variable),
                        trainable=False,
                        synchronization=tf.VariableSynchronization.ON_READ,
                        aggregation=tf.VariableAggregation.SUM,
                    )
                    for variable in self.variables
                ]

    def __call__(self, batch: Any, on_micro_step: Callable[[int], None] = lambda done: None) -> dict[str, tf.Tensor]:
        """Trains on one global batch.

        Args:
            batch: an element of a distributed dataset, {"image": (b, h, w, 3), "label": (b, h, w)} on each replica.
            on_micro_step: called with the number of micro-batches done, after each.

        Returns:
            The losses over the global batch, as scalars: "total" and one for each head.
        """
        if self.micro_steps == 1:
            return self._step(batch)
        losses = None
        for i in range(self.micro_steps):
            part = self._accumulate(batch, tf.constant(i))
            losses = part if losses is None else {name: losses[name] + part[name] for name in losses}
            on_micro_step(i + 1)
        self._apply()
        return losses

    @tf.function
    def _step(self, batch: Any) -> dict[str, tf.Tensor]:
        def replica_step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            losses, gradients = self._losses_and_gradients(batch["image"], batch["label"], 1.0)
            self.optimizer.apply(gradients, self.model.trainable_variables)
            return losses

        return self._sum(self.strategy.run(replica_step, (batch,)))

    @tf.function
    def _accumulate(self, batch: Any, i: tf.Tensor) -> dict[str, tf.Tensor]:
        def replica_step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            rows = slice(i * self.micro_batch, (i + 1) * self.micro_batch)
            images, labels = batch["image"][rows], batch["label"][rows]
            share = tf.math.divide_no_nan(self._valid_pixels(labels), self._valid_pixels(batch["label"]))
            losses, gradients = self._losses_and_gradients(images, labels, share)
            for total, gradient in zip(self.gradients, gradients, strict=True):
                total.assign_add(gradient)
            return losses

        return self._sum(self.strategy.run(replica_step, (batch,)))

    @tf.function
    def _apply(self) -> None:
        def replica_step() -> None:
            self.optimizer.apply(
                [tf.convert_to_tensor(gradient) for gradient in self.gradients], self.model.trainable_variables
            )
            for gradient in self.gradients:
                gradient.assign(tf.zeros_like(gradient))

        self.strategy.run(replica_step)

    def _losses_and_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, share: tf.Tensor | float
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            losses = self.loss(self.model(images, training=True), labels, share)
        return losses, tape.gradient(losses["total"], self.variables)

    def _valid_pixels(self, labels: tf.Tensor) -> tf.Tensor:
        """Over all replicas, as float64, which counts exactly."""
        return tf.cast(replica_sum(tf.math.count_nonzero(labels != self.ignore_label)), tf.float64)

    def _sum(self, per_replica: dict[str, Any]) -> dict[str, tf.Tensor]:
        reduce = tf.distribute.ReduceOp.SUM
        return {name: self.strategy.reduce(reduce, value, axis=None) for name, value in per_replica.items()}
