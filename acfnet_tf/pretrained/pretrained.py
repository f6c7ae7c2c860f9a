"""Weights of a backbone with what they ask of the network around them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acfnet_tf.config import PIXEL_MEAN, PIXEL_STD

IMAGENET_RGB = {"pixel_mean": PIXEL_MEAN, "pixel_std": PIXEL_STD}
"""The preprocessing of most weights."""


@dataclass(frozen=True)
class Pretrained:
    """Weights of a backbone, in our layout and under our names.

    Attributes:
        source: where they are from, for people and for config.json.
        layers: {name of our layer: its weights, in the order of `layer.weights`}.
        settings: fields of `ModelConfig` that the weights prescribe: the variant of the network and its preprocessing,
            such as {"stem": "7x7", "pixel_mean": (…), …}.
        unused: what else is in the source, under its own names: the classifier.
    """

    source: str
    layers: Mapping[str, Sequence[np.ndarray]]
    settings: Mapping[str, Any]
    unused: Sequence[str] = field(default=())


def first_of(names: Collection[str], shown: int = 4) -> str:
    """The first of the names, for a message, and how many more there are."""
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(list(names)[:shown]) + more
