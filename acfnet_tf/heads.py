"""The heads of a network: what they are called, in which order, and how their logits become labels.

Everything else asks here. A new head is an entry of `LOSS_WEIGHTS`, and its logits in `acfnet_tf.models.acfnet`.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import tensorflow as tf

AUX, COARSE, FINE = "aux", "coarse", "fine"
"""On the features before the last stage (training only); before the class centers; and the answer, which all have."""

LOSS_WEIGHTS = {AUX: 0.4, COARSE: 0.6, FINE: 0.7}
"""The weight of each head's loss (Eq. 4), in the order of the forward pass."""

HEADS = tuple(LOSS_WEIGHTS)

LABEL_DTYPES = (np.uint8, np.uint16)
"""In which labels are stored, the smallest first."""

MAX_CLASSES = int(np.iinfo(LABEL_DTYPES[-1]).max) - 1
"""Masks have two labels more: one for ignored pixels, one for what is no class."""


def heads_in(names: Collection[str]) -> tuple[str, ...]:
    """The heads among these names whose segmentation inference shows, in the order of the forward pass."""
    return tuple(head for head in HEADS if head in names and head != AUX)


def label_dtype(count: int) -> type[np.unsignedinteger]:
    """The smallest type that holds `count` different labels, 0 … count − 1.

    Predictions have N of them, the truth N + 2.
    """
    return next(dtype for dtype in LABEL_DTYPES if count <= int(np.iinfo(dtype).max) + 1)


def ignore_label(num_classes: int) -> int:
    """The label of pixels that do not count: 255, or 65535 for 255 classes and more."""
    return int(np.iinfo(label_dtype(num_classes + 2)).max)


def to_labels(scores: tf.Tensor) -> tf.Tensor:
    """The class of the highest score, the first one of equals.

    Args:
        scores: (..., N), logits or probabilities.

    Returns:
        (...), of type `label_dtype(N)`.
    """
    return tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), label_dtype(scores.shape[-1]))
