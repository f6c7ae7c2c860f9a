"""Networks that turn an image into feature maps."""

from acfnet_tf.backbones.extract import BACKBONES, READY_MADE, extract_features

__all__ = ["BACKBONES", "READY_MADE", "extract_features"]
