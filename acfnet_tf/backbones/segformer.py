"""SegFormer without its classifier (Xie et al., NeurIPS 2021)."""

from __future__ import annotations

import keras

from acfnet_tf.backbones.backbone import Backbone
from acfnet_tf.backbones.mix_transformer import ARCHITECTURES, dense, mix_transformer
from acfnet_tf.layers.conv import ConvNormAct
from acfnet_tf.layers.resize import Grid, ResizeLike

SEGFORMERS = tuple(f"segformer_{name}" for name in ARCHITECTURES)
"""Whole segmentation networks but for the classifier: what stands behind them needs no context of its own."""


def segformer(images: keras.KerasTensor, name: str = "segformer_b0", width: int = 64) -> Backbone:
    """Mix Transformer and all-MLP decoder: the map that stands before SegFormer's classifier.

    The decoder has 256 channels, whatever the encoder.

    Args:
        images: (B, H, W, 3), normalised, any H and W from 1 on.
        name: one of `SEGFORMERS`.
        width: relative to the original's 64.

    Returns:
        The decoder's map at stride 4, of 256 · width / 64 channels, and the encoder's at stride 16. Pretrained weights
        are for the encoder.

    Raises:
        ValueError: a width that the attention heads do not divide.
    """
    stages = mix_transformer(images, name.removeprefix("segformer_"), width)
    encoder = frozenset(layer.name for layer in keras.Model(images, stages[-1]).layers[1:])
    channels = 256 * width // 64
    levels = []
    for index, stage in enumerate(stages):
        level = dense(channels, f"decoder_linear_{index}")(stage)
        if index > 0:
            level = ResizeLike(2**index, name=f"decoder_resize_{index}")(level, stages[0])
        levels.append(level)
    fused = keras.layers.Concatenate(name="decoder_concat")(levels[::-1])
    return Backbone(ConvNormAct(channels, 1, name="decoder_fuse")(fused), stages[2], encoder, Grid(4), Grid(16))
