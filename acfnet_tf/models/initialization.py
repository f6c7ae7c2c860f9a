"""What a model begins with. `acfnet_tf.pretrained` finds weights, wherever they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from acfnet_tf.config import ModelConfig


@dataclass(frozen=True)
class Initialization:
    """Where weights come from.

    Attributes:
        config: of the model, with everything that the weights prescribe.
        assign: gives the weights to a model of that configuration and returns a report for the user. Variables may be
            distributed ones, in cross-replica context. Raises UserError if the weights do not fit.
    """

    config: ModelConfig
    assign: Callable[[keras.Model], str]
