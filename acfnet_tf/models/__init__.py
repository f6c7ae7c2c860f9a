"""Segmentation networks."""

from acfnet_tf.models.acfnet import ACFNet

__all__ = ["ACFNet"]
