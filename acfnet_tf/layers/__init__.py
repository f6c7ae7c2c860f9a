"""The paper's pieces as Keras layers."""

from acfnet_tf.layers.aspp import ASPP
from acfnet_tf.layers.attentional_class_feature import AttentionalClassFeature
from acfnet_tf.layers.class_attention import ClassAttentionBlock
from acfnet_tf.layers.class_center import ClassCenterBlock
from acfnet_tf.layers.class_center_fusion import ClassCenterFusion
from acfnet_tf.layers.conv import Conv2D, ConvNormAct
from acfnet_tf.layers.depthwise import DepthwiseConv2D
from acfnet_tf.layers.norm import SyncBatchNorm
from acfnet_tf.layers.pyramid_pooling import PyramidPooling
from acfnet_tf.layers.resize import ResizeLike

__all__ = [
    "ASPP",
    "AttentionalClassFeature",
    "ClassAttentionBlock",
    "ClassCenterBlock",
    "ClassCenterFusion",
    "Conv2D",
    "ConvNormAct",
    "DepthwiseConv2D",
    "PyramidPooling",
    "ResizeLike",
    "SyncBatchNorm",
]
