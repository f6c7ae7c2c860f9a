"""What training needs to know of the classes of its data: weights for the loss, and where rare classes are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from acfnet_tf.config import Experiment
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import ConfigError
from acfnet_tf.importers.counts import class_pixels, count_values
from acfnet_tf.losses import (
    CITYSCAPES_CLASS_WEIGHTS,
    enet_weights,
    inverse_log_weights,
    median_frequency_weights,
)
from acfnet_tf.training.strategy import Workers


class ClassStatistics:
    """Counts the masks when that is needed: the chief, for all workers.

    Args:
        samples: the training set.
        source: that they are from.
        experiment: resolved.
        workers: all of them must ask the same questions.
        say: shows the user a line.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        source: DataSource,
        experiment: Experiment,
        workers: Workers,
        say: Callable[[str], None],
    ) -> None:
        self.samples, self.source, self.experiment, self.workers, self.say = samples, source, experiment, workers, say

    def class_weights(self) -> Sequence[float] | None:
        """The weights that `train.loss.class_weights` asks for, of length N; None for equal ones.

        Raises:
            ConfigError: given weights of another length.
            DataError: a mask cannot be read, or holds values that are in no class.
        """
        choice, names = self.experiment.train.loss.class_weights, self.source.classes.names
        if choice == "none":
            return None
        if choice == "cityscapes":
            if names == CITYSCAPES.names:
                return CITYSCAPES_CLASS_WEIGHTS
            self.say("Class weights: the published ones are for the classes of Cityscapes; counted anew for these.")
        if isinstance(choice, tuple):
            if len(choice) != len(names):
                raise ConfigError(f"train.loss.class_weights: {len(choice)} weights for {len(names)} classes")
            return choice
        return weights_from_counts(self._pixels)["inverse_log" if choice == "cityscapes" else choice]

    def sample_order(self) -> SampleOrder:
        """As `data.rare_class_temperature` asks for."""
        temperature, seed = self.experiment.data.rare_class_temperature, self.experiment.train.seed
        if temperature is None:
            return SampleOrder(len(self.samples), seed)
        return SampleOrder(len(self.samples), seed, self._pixels, temperature)

    @functools.cached_property
    def _pixels(self) -> np.ndarray:
        """(samples, N) int64."""
        classes, masks = self.source.classes, [sample.label for sample in self.samples]
        table = np.zeros((len(masks), len(classes)), np.int64)
        if self.workers.is_chief:
            skip_bad = self.experiment.data.on_bad_file == "skip"
            counts = count_values(masks, classes.coding, self.source.cache_dir, skip_bad=skip_bad)
            table = class_pixels(masks, counts, classes, skip_bad=skip_bad)
        return self.workers.from_chief([table])[0]


def weights_from_counts(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """All kinds of counted weights, {name: (N,)}, from the pixels of each class in each image, (images, N)."""
    total, labelled = pixels.sum(axis=0), pixels.sum(axis=1)
    return {
        "inverse_log": inverse_log_weights(total),
        "enet": enet_weights(total),
        "median_frequency": median_frequency_weights(total, labelled @ (pixels > 0)),
    }
