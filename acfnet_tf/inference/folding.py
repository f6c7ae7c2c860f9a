"""BatchNorm folded into the convolutions before it: the same numbers from fewer passes over memory."""

from __future__ import annotations

import keras
import tensorflow as tf

from acfnet_tf.layers import ConvNormAct


def fold_batch_norm(model: keras.Model) -> None:
    """Folds the BatchNorm of every `ConvNormAct` with float32 variables of the model, in place, for inference.

    Logits stay the same to 1e-4. The model can still be saved: its BatchNorms become plain additions of a bias.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, ConvNormAct) and layer.variable_dtype == "float32":
            _fold(layer)


def _fold(layer: ConvNormAct) -> None:
    """norm(conv(x)) = x ∗ (kernel · scale) + shift, as a BatchNorm of mean 0, variance 1 and scale 1."""
    conv, norm = layer.conv, layer.norm
    scale = norm.gamma / tf.sqrt(norm.moving_variance + norm.epsilon)
    shift = norm.beta - norm.moving_mean * scale
    if conv.use_bias:
        shift += conv.bias * scale
        conv.bias.assign(tf.zeros_like(conv.bias))
    conv.kernel.assign(conv.kernel * scale)
    norm.gamma.assign(tf.ones_like(scale))
    norm.beta.assign(shift)
    norm.moving_mean.assign(tf.zeros_like(scale))
    norm.moving_variance.assign(tf.ones_like(scale) - norm.epsilon)
    layer.folded = True
