"""DeepLabV3+ of keras_cv without its classifier (Chen et al., ECCV 2018)."""

from __future__ import annotations

import keras

from acfnet_tf.backbones.adopt import adopt
from acfnet_tf.backbones.features import Features
from acfnet_tf.layers.aspp import ASPP
from acfnet_tf.layers.resize import Grid

DEEPLABS = ("deeplab_v3_plus_resnet50_v2",)


def deeplab(images: keras.KerasTensor, name: str = DEEPLABS[0], width: int = 64) -> Features:
    """ResNet50V2, atrous spatial pyramid pooling and decoder: the map that stands before the classifier.

    keras_cv's own pyramid pooling and upsampling want sizes that 32 divides; here any will do. The pyramid has no
    image-level mean, as in the paper of ACFNet.

    Args:
        images: (B, H, W, 3), normalised, any H and W from 1 on.
        name: one of `DEEPLABS`.
        width: relative to the original's 64; the stem keeps its 64 channels.

    Returns:
        Features at stride 4, of 256 · width / 64 channels; the auxiliary ones are those of the ResNet at stride 16.
        Pretrained weights are for the ResNet.

    Raises:
        ValueError: the width leaves a layer without channels.
    """
    from keras_cv.models import DeepLabV3Plus, ResNetV2Backbone  # slow to import

    if width < 2:
        raise ValueError(f"{name} needs a width of at least 2, not {width}")
    channels = 256 * width // 64
    resnet = ResNetV2Backbone(
        stackwise_filters=[width, 2 * width, 4 * width, 8 * width],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
    )
    head = keras.Sequential(
        [
            keras.layers.Conv2D(channels, 1, use_bias=False, name="segmentation_head_conv"),
            keras.layers.BatchNormalization(name="segmentation_head_norm"),
            keras.layers.ReLU(name="segmentation_head_relu"),
        ]
    )
    network = DeepLabV3Plus(
        backbone=resnet,
        num_classes=1,  # of the classifier that `head` leaves out
        projection_filters=48 * width // 64,
        spatial_pyramid_pooling=ASPP(channels, (6, 12, 18), name="aspp"),
        segmentation_head=head,
        name=name,
    )
    adopted = adopt(network, images, output_stride=32)
    next_to_last = keras.Model(images, adopted.features).get_layer("v2_stack_2_block6_out").output
    pretrained = frozenset(layer.name for layer in resnet.layers) & adopted.layer_names
    return Features(adopted.features, next_to_last, pretrained, adopted.grid, Grid(16))
