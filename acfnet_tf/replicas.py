"""Sums over all replicas of a `tf.distribute` strategy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def replica_sum(values: Any) -> Any:
    """The sum over all replicas of a tensor, or of each tensor of a list; the values themselves outside of one.

    The tensors of a list, of one dtype, travel as one: between machines it is the number of transfers that takes time.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    if not isinstance(values, list):
        # A tensor that was handed in has no device, which tf.distribute does not take.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(values))
    total = replica_sum(tf.concat([tf.reshape(value, [-1]) for value in values], axis=0))
    parts = tf.split(total, [value.shape.num_elements() for value in values])
    return [tf.reshape(part, value.shape) for part, value in zip(parts, values, strict=True)]
