"""Which file each sample is. Order is arithmetic: a pure function of (seed, global sample index)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from acfnet_tf.errors import DataError


def sample_file_index(seed: int, index: int | tf.Tensor, num_files: int) -> tf.Tensor:
    """Which file, () int64, global sample `index` is: every file once an epoch, in an order of its own each epoch."""
    index = tf.convert_to_tensor(index, tf.int64)
    epoch, position = index // num_files, index % num_files
    return tf.random.experimental.index_shuffle(position, tf.stack([seed, epoch]), num_files - 1)


class SampleOrder:
    """Which file each sample is, and which class its crop must hold.

    By default `sample_file_index`, and no class. With a temperature, rare class sampling as in DAFormer (Hoyer et al.,
    CVPR 2022, Eq. 8–9): a class is drawn with probability ∝ exp((1 − share of its pixels) / temperature), then one of
    the files in which it occurs.

    Args:
        class_pixels: (num_files, N) pixels of each class in each file; only with a temperature.
        temperature: the smaller, the more often rare classes are drawn; none for the default.

    Raises:
        DataError: with a temperature, there are no pixels of any class.
    """

    def __init__(
        self, num_files: int, seed: int, class_pixels: np.ndarray | None = None, temperature: float | None = None
    ) -> None:
        self.num_files, self.seed, self.draws_classes = num_files, seed, temperature is not None
        if self.draws_classes:
            files = [np.flatnonzero(column) for column in class_pixels.T]
            fraction = class_pixels.sum(axis=0) / max(class_pixels.sum(), 1)
            occurs = np.array([len(places) > 0 for places in files])
            if not occurs.any():
                raise DataError("data.rare_class_temperature: no training mask holds a pixel of any class.")
            # The largest weight is 1, however small the temperature.
            weight = np.where(occurs, np.exp(np.minimum(fraction[occurs].min() - fraction, 0) / temperature), 0)
            bounds = np.cumsum(weight / weight.sum())
            # Rounding must not let a class that occurs nowhere be drawn where it is the last.
            self._bounds = tf.constant(np.where(bounds > 1 - 1e-6, 2, bounds), tf.float32)
            self._files = tf.RaggedTensor.from_row_lengths(np.concatenate(files), [len(places) for places in files])

    def __call__(self, index: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """File, () int64, and class, () int64 or −1 for none, of global sample `index`."""
        if not self.draws_classes:
            return sample_file_index(self.seed, index, self.num_files), tf.constant(-1, tf.int64)
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.convert_to_tensor(index, tf.int64)])
        # The stream is another one than the augmentation's, which has the same seed.
        chance = tf.random.stateless_uniform((2,), tf.random.experimental.stateless_fold_in(seed, 2))
        drawn = tf.searchsorted(self._bounds, chance[:1], side="right", out_type=tf.int64)[0]
        files = self._files[drawn]
        count = tf.size(files, tf.int64)
        place = tf.cast(tf.floor(chance[1] * tf.cast(count, tf.float32)), tf.int64)
        return files[tf.minimum(place, count - 1)], drawn
