"""From the configuration to the model."""

from __future__ import annotations

import dataclasses

from acfnet_tf.config import ConfigError, ModelConfig
from acfnet_tf.models.acfnet import ACFNet


def create_model(config: ModelConfig) -> ACFNet:
    """A new model with random weights.

    Raises:
        ConfigError: a choice that the model does not have.
    """
    try:
        return ACFNet(**dataclasses.asdict(config))
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
