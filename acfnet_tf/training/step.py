"""One training step on the global batch, on all replicas, in one piece or in micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.layers.compilation import compiled, compiling, pays
from acfnet_tf.layers.norm import deferred_statistics
from acfnet_tf.losses.bootstrapping import Kept
from acfnet_tf.losses.heads import HeadLosses
from acfnet_tf.replicas import replica_sum
from acfnet_tf.training.loss_scale import LossScale
from acfnet_tf.training.optimizer import L2SGD, AdamW


class TrainStep:
    """Forward, loss, backward, update.

    Every replica contributes its part of the global loss, and gradients are summed over replicas, so that N replicas
    compute what one device would on the same global batch. Where a replica's batch does not fit into memory, it goes
    through in micro-batches whose gradients are added up; BatchNorm's statistics are then those of a micro-batch (on
    all replicas). The loss is that of the whole batch all the same: with bootstrapping, a first forward pass over all
    micro-batches finds the pixels that are kept. A step with a loss, a gradient or statistics that are not finite
    changes nothing, but it counts.

    Args:
        strategy: under whose scope model and optimizer were made.
        model: with a dict of logits as output.
        optimizer: built.
        loss: of all heads; it returns this replica's part.
        replica_batch: samples of a global batch that one replica gets.
        micro_batch: samples that go through a replica at once; divides `replica_batch`.
        loss_scale: for float16, made under the strategy's scope.
        xla: whether XLA compiles what runs on one replica: also forward and backward pass (true; there must be no
            other replica), or where it pays the norms and the update (None).
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: L2SGD | AdamW,
        loss: HeadLosses,
        replica_batch: int,
        micro_batch: int,
        loss_scale: LossScale | None = None,
        xla: bool | None = None,
    ) -> None:
        self.strategy, self.model, self.optimizer, self.loss = strategy, model, optimizer, loss
        self.loss_scale = loss_scale
        self.micro_steps = replica_batch // micro_batch
        self.variables = [variable.value for variable in model.trainable_variables]
        self.statistics: list[keras.Variable] = []
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
        self.compile_norms = xla is None and pays()
        self.compile_update = self.compile_norms and strategy.num_replicas_in_sync == 1
        self._update = compiled(self._update_replica)
        if xla:
            self._forward = tf.function(self._forward, jit_compile=True)
            self._forward_backward = tf.function(self._forward_backward, jit_compile=True)

    def __call__(self, batch: Any, on_micro_step: Callable[[int], None] = lambda done: None) -> dict[str, tf.Tensor]:
        """Trains on one global batch.

        Args:
            batch: an element of a distributed dataset, {"image": (b, h, w, 3), "label": (b, h, w)} on each replica.
            on_micro_step: called with the number of micro-batches done, after each.

        Returns:
            Scalars: the losses over the global batch ("total" and one for each head), "gradient_norm" before clipping,
            and "finite": false where the step was left out.
        """
        if self.micro_steps == 1:
            return self._step(batch)
        parts = [tf.constant(i) for i in range(self.micro_steps)]
        hardness = [self._hardness(batch, i) for i in parts] if self.loss.bootstrapped else []
        kept, before = self._begin(batch, hardness)
        losses = None
        for i in parts:
            part = self._accumulate(batch, i, kept)
            losses = part if losses is None else {name: losses[name] + part[name] for name in losses}
            on_micro_step(int(i) + 1)
        return self._apply_accumulated(losses, before)

    @tf.function
    def _step(self, batch: Any) -> dict[str, tf.Tensor]:
        def replica_step(batch: dict[str, tf.Tensor]) -> tuple:
            losses, gradients, statistics = self._forward_backward(batch["image"], batch["label"])
            return *replica_sum((losses, gradients)), statistics, _values(self.statistics)

        return self._finish(*self.strategy.run(replica_step, (batch,)))

    @tf.function
    def _hardness(self, batch: Any, i: tf.Tensor) -> Any:
        """What bootstrapping wants to know of the pixels of micro-batch `i`, on each replica."""
        return self.strategy.run(lambda batch: self._forward(*self._micro_batch(batch, i)), (batch,))

    @tf.function
    def _begin(self, batch: Any, hardness: list[Any]) -> tuple[Any, Any]:
        """Which pixels of the global batch count, and the moving statistics as they are before the step."""

        def replica_begin(batch: dict[str, tf.Tensor], hardness: list[dict[str, tf.Tensor]]) -> tuple:
            heads = hardness[0] if hardness else ()
            hardness = {head: tf.concat([part[head] for part in hardness], axis=0) for head in heads}
            return self.loss.kept(batch["label"], hardness), _values(self.model.non_trainable_variables)

        return self.strategy.run(replica_begin, (batch, hardness))

    @tf.function
    def _accumulate(self, batch: Any, i: tf.Tensor, kept: Any) -> dict[str, tf.Tensor]:
        def replica_step(batch: dict[str, tf.Tensor], kept: dict[str, Kept]) -> dict[str, tf.Tensor]:
            losses, gradients, statistics = self._forward_backward(*self._micro_batch(batch, i), kept)
            for total, gradient in zip(self.gradients, gradients, strict=True):
                total.assign_add(gradient)
            for variable, value in zip(self.statistics, statistics, strict=True):
                variable.assign(value)
            return replica_sum(losses)

        return self._first(self.strategy.run(replica_step, (batch, kept)))

    @tf.function
    def _apply_accumulated(self, losses: dict[str, tf.Tensor], before: Any) -> dict[str, tf.Tensor]:
        def replica_gradients() -> list[tf.Tensor]:
            gradients = replica_sum([tf.convert_to_tensor(gradient) for gradient in self.gradients])
            with tf.control_dependencies(gradients):
                for gradient in self.gradients:
                    gradient.assign(tf.zeros_like(gradient))
            return gradients

        def replica_statistics(before: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            # The micro-batches have updated them, one after the other.
            names = [variable.path for variable in self.model.non_trainable_variables]
            old = dict(zip(names, before, strict=True))
            return _values(self.statistics), [old[variable.path] for variable in self.statistics]

        new, old = self.strategy.run(replica_statistics, (before,))
        return self._finish(losses, self.strategy.run(replica_gradients), new, old)

    def _micro_batch(self, batch: dict[str, tf.Tensor], i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Its samples are far apart, so that they are the same ones whatever the number of replicas.
        rows = slice(i, None, self.micro_steps)
        return batch["image"][rows], batch["label"][rows]

    def _forward(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        with compiling(self.compile_norms), deferred_statistics():  # They are dropped, as the pass is repeated.
            return self.loss.hardness(self.model(images, training=True), labels)

    def _forward_backward(
        self, images: tf.Tensor, labels: tf.Tensor, kept: dict[str, Kept] | None = None
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        """This replica's part of the losses and gradients, and the new moving statistics."""
        with compiling(self.compile_norms), tf.GradientTape() as tape:
            with deferred_statistics() as updates:
                losses = self.loss(self.model(images, training=True), labels, kept)
            scaled = losses["total"] * self.loss_scale.scale if self.loss_scale else losses["total"]
        # Rematerialisation runs the forward pass again, here.
        with compiling(self.compile_norms), deferred_statistics():
            gradients = tape.gradient(scaled, self.variables)
        self.statistics = [variable for variable, _ in updates]
        return losses, gradients, [value for _, value in updates]

    def _finish(self, losses: Any, gradients: Any, new: Any, old: Any) -> dict[str, tf.Tensor]:
        """Updates weights and statistics if everything is finite, or else nothing.

        Args:
            losses, gradients: summed over replicas already.
            new, old: values of `self.statistics`, as this step makes them and as they were before.
        """

        def replica_update(*summed: Any) -> tuple[tf.Tensor, tf.Tensor]:
            with compiling(self.compile_update):
                return self._update(*summed)

        losses = self._first(losses)
        norm, finite = self._first(self.strategy.run(replica_update, (losses["total"], gradients, new, old)))
        return losses | {"gradient_norm": norm, "finite": finite}

    def _update_replica(
        self, loss: tf.Tensor, gradients: list[tf.Tensor], new: list[tf.Tensor], old: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the norm of the gradients, and whether the step has counted."""
        if self.loss_scale:
            gradients = [gradient / tf.cast(self.loss_scale.scale, gradient.dtype) for gradient in gradients]
        norm = tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in gradients])
        finite = tf.reduce_all(tf.math.is_finite(tf.concat([[loss, norm], *new], axis=0)))
        # Products of variables alone, as of the weight decay, would be computed at once, and wait in memory.
        with tf.control_dependencies([finite]):
            self.optimizer.apply_summed(gradients, self.model.trainable_variables, finite)
        for variable, after, before in zip(self.statistics, new, old, strict=True):
            variable.assign(tf.where(finite, after, before))
        if self.loss_scale:
            self.loss_scale.update(finite)
        return norm, finite

    def _first(self, per_replica: Any) -> Any:
        """The tensors of this process's first replica, for values that all replicas share."""
        return tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], per_replica)


def _values(variables: list[keras.Variable]) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(variable) for variable in variables]
