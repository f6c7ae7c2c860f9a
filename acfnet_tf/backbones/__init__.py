"""Networks that turn an image into feature maps."""

from acfnet_tf.backbones.resnet import ARCHITECTURES, resnet

__all__ = ["ARCHITECTURES", "resnet"]
