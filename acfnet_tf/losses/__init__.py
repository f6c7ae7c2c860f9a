"""What training minimises."""

from acfnet_tf.losses.class_weights import CITYSCAPES_CLASS_WEIGHTS, inverse_log_weights
from acfnet_tf.losses.segmentation import SegmentationLoss

__all__ = ["CITYSCAPES_CLASS_WEIGHTS", "SegmentationLoss", "inverse_log_weights"]
