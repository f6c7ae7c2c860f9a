"""Which file each sample is. Order is arithmetic: a pure function of (seed, global sample index)."""

from __future__ import annotations

import tensorflow as tf


def sample_file_index(seed: int, index: int | tf.Tensor, num_files: int) -> tf.Tensor:
    """Which file, () int64, global sample `index` is: every file once an epoch, in an order of its own each epoch."""
    index = tf.convert_to_tensor(index, tf.int64)
    epoch, position = index // num_files, index % num_files
    return tf.random.experimental.index_shuffle(position, tf.stack([seed, epoch]), num_files - 1)


class SampleOrder:
    """Which file each sample is, and which class its crop must hold: `sample_file_index`, and no class."""

    def __init__(self, num_files: int, seed: int) -> None:
        self.num_files, self.seed = num_files, seed

    def __call__(self, index: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """File, () int64, and class, () int64 or None for none, of global sample `index`."""
        return sample_file_index(self.seed, index, self.num_files), None
