"""Any backbone by its name."""

from __future__ import annotations

from typing import Any, Literal

import keras

from acfnet_tf.backbones.adopt import adopt
from acfnet_tf.backbones.deeplab import DEEPLABS, deeplab
from acfnet_tf.backbones.features import Features
from acfnet_tf.backbones.originals import ORIGINALS, original
from acfnet_tf.backbones.resnet import ARCHITECTURES, resnet
from acfnet_tf.backbones.segformer import SEGFORMERS, segformer
from acfnet_tf.layers.resize import Grid

BACKBONES = (*ARCHITECTURES, *ORIGINALS, *SEGFORMERS, *DEEPLABS)
READY_MADE = (*SEGFORMERS, *DEEPLABS)
"""Whole segmentation networks without their classifier: they have their own context."""


def extract_features(
    images: keras.KerasTensor, name: str, *, output_stride: Literal[8, 16, 32] = 8, width: int = 64, **variant: Any
) -> Features:
    """The feature maps of a backbone.

    Args:
        images: (B, H, W, 3), normalised.
        name: one of `BACKBONES`.
        output_stride: of the last stage.
        width: relative to the original's 64; 32 halves the channels of all layers.
        **variant: of a ResNet, see there.

    Raises:
        ValueError: no such backbone, or it cannot have that output stride or width.
    """
    if name in ARCHITECTURES:
        *_, next_to_last, last = resnet(images, name, output_stride=output_stride, width=width, **variant)
        names = frozenset(layer.name for layer in keras.Model(images, last).layers[1:])
        return Features(last, next_to_last, names, Grid(output_stride), Grid(min(output_stride, 16)))
    if name in ORIGINALS:
        return adopt(original(name, width).model, images, output_stride)
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, not {name!r}")
    if output_stride != 32:
        raise ValueError(f"{name} has fixed strides and cannot be dilated: set output_stride to 32")
    return (segformer if name in SEGFORMERS else deeplab)(images, name, width)
