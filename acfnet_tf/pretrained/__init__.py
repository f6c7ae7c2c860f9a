"""Pretrained weights of backbones, from every usual source."""

from acfnet_tf.pretrained.find import find_weights, pretrained_model

__all__ = ["find_weights", "pretrained_model"]
