"""An order of samples in which rare classes come more often."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from acfnet_tf.config import Experiment
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.errors import DataError


def sample_order(experiment: Experiment, samples: int, count: Callable[[], np.ndarray]) -> SampleOrder:
    """The order that `data.rare_class_temperature` asks for.

    Args:
        samples: how many there are.
        count: gives the pixels of each class in each of their masks, (samples, N); it is asked where it matters only.

    Raises:
        DataError: as `count`, or there are no pixels of any class.
    """
    temperature, seed = experiment.data.rare_class_temperature, experiment.train.seed
    if temperature is None:
        return SampleOrder(samples, seed)
    return RareClassOrder(seed, count(), temperature)


class RareClassOrder(SampleOrder):
    """Rare class sampling as in DAFormer (Hoyer et al., CVPR 2022, Eq. 8–9).

    A class is drawn with probability ∝ exp((1 − share of its pixels) / temperature), then one of the files in which it
    occurs.

    Args:
        class_pixels: (num_files, N) pixels of each class in each file.
        temperature: the smaller, the more often rare classes are drawn.

    Raises:
        DataError: there are no pixels of any class.
    """

    def __init__(self, seed: int, class_pixels: np.ndarray, temperature: float) -> None:
        super().__init__(len(class_pixels), seed)
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
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.convert_to_tensor(index, tf.int64)])
        # The stream is another one than the augmentation's, which has the same seed.
        chance = tf.random.stateless_uniform((2,), tf.random.experimental.stateless_fold_in(seed, 2))
        drawn = tf.searchsorted(self._bounds, chance[:1], side="right", out_type=tf.int64)[0]
        files = self._files[drawn]
        count = tf.size(files, tf.int64)
        place = tf.cast(tf.floor(chance[1] * tf.cast(count, tf.float32)), tf.int64)
        return files[tf.minimum(place, count - 1)], drawn
