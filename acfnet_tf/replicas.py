"""Sums over all replicas of a `tf.distribute` strategy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def replica_sum(values: Any) -> Any:
    """The sum over all replicas of a tensor, or of each tensor of a structure; the values themselves outside of one.

    `tf.distribute` has the tensors of a structure, of one dtype, travel as one: between machines it is the number of
    transfers that takes time.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    # A tensor that was handed in has no device, which tf.distribute does not take.
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.map_structure(tf.identity, values))
