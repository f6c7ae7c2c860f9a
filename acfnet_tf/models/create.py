"""From the configuration to the model."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.config import ModelConfig, Precision
from acfnet_tf.errors import ConfigError
from acfnet_tf.layers import ASPP, ConvNormAct, PyramidPooling
from acfnet_tf.layers.precision import dtype_policy
from acfnet_tf.models.acfnet import ARGUMENTS, ACFNet


def create_model(config: ModelConfig, precision: Precision = "float32", rematerialize: bool = False) -> ACFNet:
    """A new model with random weights, whatever `config.weights` says; see `find_weights`.

    Args:
        config: of the network; 19 classes where it does not say how many.
        precision: in 16 bits, the maps between layers are; variables are float32.
        rematerialize: keep of every `ConvNormAct`, ASPP and pyramid pooling the input only and compute the rest a
            second time in the backward pass: less memory, more time. It is not saved with the model.

    Raises:
        ConfigError: a choice that the model does not have.
    """
    arguments = {name: getattr(config, name) for name in ARGUMENTS} | {"num_classes": config.num_classes or 19}
    try:
        model = ACFNet(**arguments, dtype=dtype_policy(precision))
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    if rematerialize:
        for layer in model.layers:
            # Only the outermost ones: nested in each other, repeated passes multiply.
            if isinstance(layer, (ASPP, PyramidPooling, ConvNormAct)):
                _rematerialize(layer)
    return model


def in_precision(model: ACFNet, precision: Precision) -> ACFNet:
    """The model itself, or if it computes in another dtype, a copy that computes in this one."""
    policy = dtype_policy(precision)
    if model.dtype_policy.name == policy:
        return model
    copy = ACFNet.from_config(model.get_config() | {"dtype": policy})
    copy.set_weights(model.get_weights())
    return copy


def _rematerialize(layer: keras.layers.Layer) -> None:
    """`keras.RematScope` for this layer, also in a `tf.function`, where it does not take arguments such as `training`.

    The layer must have no variables of its own: a mixed policy casts only those of layers nested in it a second time.
    """
    call = layer.call

    @functools.wraps(call)
    def recomputed(*inputs: tf.Tensor, **options: Any) -> tf.Tensor:
        return keras.remat(functools.partial(call, **options))(*inputs)

    layer.call = recomputed
