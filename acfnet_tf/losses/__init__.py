"""What training minimises."""

from acfnet_tf.losses.class_weights import (
    CITYSCAPES_CLASS_WEIGHTS,
    enet_weights,
    inverse_log_weights,
    median_frequency_weights,
    weights_from_counts,
)
from acfnet_tf.losses.heads import HeadLosses, head_losses
from acfnet_tf.losses.segmentation import SegmentationLoss

__all__ = [
    "CITYSCAPES_CLASS_WEIGHTS",
    "HeadLosses",
    "SegmentationLoss",
    "enet_weights",
    "head_losses",
    "inverse_log_weights",
    "median_frequency_weights",
    "weights_from_counts",
]
