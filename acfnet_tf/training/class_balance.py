"""How training makes up for rare classes by weights of the loss (Section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from acfnet_tf.config import Experiment
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import ConfigError
from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, weights_from_counts

CountPixels = Callable[[], np.ndarray]
"""Gives the pixels of each class in each training mask, (samples, N) int64. It is asked where they are needed only."""


def class_weights(
    experiment: Experiment, classes: ClassSet, count: CountPixels, say: Callable[[str], None]
) -> Sequence[float] | None:
    """The weights that `train.loss.class_weights` asks for, of length N; None for equal ones.

    Raises:
        ConfigError: given weights of another length.
        DataError: as `count`.
    """
    choice = experiment.train.loss.class_weights
    if choice == "none":
        return None
    if isinstance(choice, tuple):
        if len(choice) != len(classes):
            raise ConfigError(f"train.loss.class_weights: {len(choice)} weights for {len(classes)} classes")
        return choice
    if choice == "cityscapes":
        if classes.names == CITYSCAPES.names:
            return CITYSCAPES_CLASS_WEIGHTS
        say("Class weights: the published ones are for the classes of Cityscapes; counted anew for these.")
        choice = "inverse_log"
    return weights_from_counts(count())[choice]
