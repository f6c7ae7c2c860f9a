"""The classes of PASCAL VOC (public facts of the data set)."""

from __future__ import annotations

from acfnet_tf.data.classes import IGNORED, ClassSet, voc_colors

_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

VOC = ClassSet(
    names=_NAMES,
    colors=voc_colors(len(_NAMES)),
    values={**{index: index for index in range(len(_NAMES))}, 255: IGNORED},
)
"""21 classes; 255 is the outline of objects and whatever is too hard to tell."""
