"""What a backbone gives to the network behind it."""

from __future__ import annotations

from typing import NamedTuple

import keras

from acfnet_tf.layers.resize import Grid


class Backbone(NamedTuple):
    """The feature maps of a backbone, on the images that it was built on.

    Attributes:
        last: (B, h, w, C) of the last stage.
        next_to_last: (B, h', w', C') of the stage before, for auxiliary supervision.
        weight_layers: the names of the layers that pretrained weights are for.
        grid, next_to_last_grid: the pixels of the image on which the two maps stand.
    """

    last: keras.KerasTensor
    next_to_last: keras.KerasTensor
    weight_layers: frozenset[str]
    grid: Grid
    next_to_last_grid: Grid
