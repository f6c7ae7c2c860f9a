"""From the configuration to the model."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.config import ModelConfig
from acfnet_tf.errors import ConfigError
from acfnet_tf.layers import ASPP, ConvNormAct, PyramidPooling
from acfnet_tf.models.acfnet import ARGUMENTS, ACFNet


def create_model(config: ModelConfig, precision: str = "float32", rematerialize: bool = False) -> ACFNet:
    """A new model with random weights, whatever `config.weights` says; see `find_weights`.

    Args:
        config: of the network; 19 classes where it does not say how many.
        precision: dtype policy of the layers: "float32", "mixed_bfloat16" or "mixed_float16".
        rematerialize: keep of every `ConvNormAct`, ASPP and pyramid pooling the input only and compute the rest a
            second time in the backward pass: less memory, more time. It is not saved with the model.

    Raises:
        ConfigError: a choice that the model does not have.
    """
    arguments = {name: getattr(config, name) for name in ARGUMENTS} | {"num_classes": config.num_classes or 19}
    try:
        model = ACFNet(**arguments, dtype=precision)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    if rematerialize:
        for layer in model.layers:
            # Only the outermost ones: nested in each other, repeated passes multiply.
            if isinstance(layer, (ASPP, PyramidPooling, ConvNormAct)):
                _rematerialize(layer)
    return model


def _rematerialize(layer: keras.layers.Layer) -> None:
    """`keras.RematScope` for this layer, also in a `tf.function`, where it does not take arguments such as `training`.

    The layer must have no variables of its own: a mixed policy casts only those of layers nested in it a second time.
    """
    call = layer.call

    @functools.wraps(call)
    def recomputed(*inputs: tf.Tensor, **options: Any) -> tf.Tensor:
        return keras.remat(functools.partial(call, **options))(*inputs)

    layer.call = recomputed
