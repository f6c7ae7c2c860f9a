"""Encoders of SegFormer as keras_hub has them, under our names."""

from __future__ import annotations

import keras
import numpy as np

from acfnet_tf.pretrained.pretrained import IMAGENET_RGB, Pretrained


def mix_transformer_weights(model: keras.Model) -> dict[str, list[np.ndarray]]:
    """{name of our layer: its weights} of a `MiTBackbone`.

    Its layers have our names, all but the LayerNorms behind the stages, whose names are counted.
    """
    norms = (layer for layer in model.layers if isinstance(layer, keras.layers.LayerNormalization))
    names = {norm: f"encoder_norm_{stage}" for stage, norm in enumerate(norms)}
    return {names.get(layer, layer.name): layer.get_weights() for layer in model.layers if layer.weights}


def segformer_from_keras(model: keras.Model, source: str) -> Pretrained:
    """The encoder of a keras_hub `MiTBackbone` or `SegFormerBackbone`, for the SegFormer of that size.

    Args:
        model: as `keras_hub.models.Backbone.from_preset` returns it.
        source: for people.
    """
    encoder = getattr(model, "image_encoder", model)
    unused = () if encoder is model else ("its decoder",)
    return Pretrained(source, mix_transformer_weights(encoder), dict(IMAGENET_RGB), unused)
