"""Networks that turn an image into feature maps."""

from __future__ import annotations

from typing import Any

import keras

from acfnet_tf.backbones.backbone import Backbone
from acfnet_tf.backbones.dilated import make_dilated
from acfnet_tf.backbones.keras_networks import KERAS_NETWORKS, keras_network
from acfnet_tf.backbones.resnet import ARCHITECTURES, resnet
from acfnet_tf.backbones.segformer import SEGFORMERS, segformer
from acfnet_tf.config import OutputStride
from acfnet_tf.layers.resize import Grid

BACKBONES = (*ARCHITECTURES, *KERAS_NETWORKS, *SEGFORMERS)


def build_backbone(
    images: keras.KerasTensor,
    network: str | keras.Model,
    *,
    output_stride: OutputStride = 8,
    width: int = 64,
    **variant: Any,
) -> Backbone:
    """The feature maps of a backbone.

    Args:
        images: (B, H, W, 3), normalised.
        network: one of `BACKBONES`, or a model of Keras, whose weights are copied; see `make_dilated`.
        output_stride: of the last stage.
        width: relative to the original's 64; 32 halves the channels of all layers.
        **variant: of a ResNet, see there.

    Raises:
        ValueError: no such backbone, or it cannot have that output stride or width.
    """
    if isinstance(network, keras.Model):
        if width != 64:
            raise ValueError(f"{network.name} has the width that it has: set backbone_width to 64, not {width}")
        return make_dilated(network, images, output_stride, copy_weights=True)
    if network in ARCHITECTURES:
        *_, next_to_last, last = resnet(images, network, output_stride=output_stride, width=width, **variant)
        names = frozenset(layer.name for layer in keras.Model(images, last).layers[1:])
        return Backbone(last, next_to_last, names, Grid(output_stride), Grid(min(output_stride, 16)))
    if network in KERAS_NETWORKS:
        return make_dilated(keras_network(network, width), images, output_stride)
    if network not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, or a keras.Model, not {network!r}")
    if output_stride != 32:
        raise ValueError(f"{network} has fixed strides and cannot be dilated: set output_stride to 32")
    return segformer(images, network, width)
