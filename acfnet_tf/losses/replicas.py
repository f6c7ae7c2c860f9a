"""Sums over all replicas of a `tf.distribute` strategy."""

from __future__ import annotations

import tensorflow as tf


def replica_sum(value: tf.Tensor) -> tf.Tensor:
    """The sum of `value` over all replicas; `value` itself outside of a strategy."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
