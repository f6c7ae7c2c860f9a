"""What a backbone gives to the network behind it."""

from __future__ import annotations

from typing import NamedTuple

import keras

from acfnet_tf.layers.resize import Grid


class Features(NamedTuple):
    """Feature maps of a backbone.

    Attributes:
        features: (B, h, w, C) of the last stage.
        auxiliary: (B, h', w', C') of the next-to-last stage, for auxiliary supervision.
        layer_names: of the layers that pretrained weights are for.
        grid, auxiliary_grid: the pixels of the image on which the two maps stand.
    """

    features: keras.KerasTensor
    auxiliary: keras.KerasTensor
    layer_names: frozenset[str]
    grid: Grid
    auxiliary_grid: Grid
