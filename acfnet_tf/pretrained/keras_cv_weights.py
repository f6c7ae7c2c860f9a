"""ImageNet weights for the ready-made networks of keras_cv."""

from __future__ import annotations

from typing import NoReturn

from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.keras_resnet import layers_of
from acfnet_tf.pretrained.pretrained import Pretrained

BEHIND_LAST_STAGE = "post_bn"


def deeplab_imagenet() -> Pretrained:
    """The ResNet50V2 of keras_cv, which Kaggle serves.

    Raises:
        Exception: of kagglehub or Keras, where it cannot be downloaded.
    """
    from keras_cv.models import ResNetV2Backbone  # slow to import

    preset = "resnet50_v2_imagenet"
    model = ResNetV2Backbone.from_preset(preset)
    layers = dict(layers_of(model))
    unused = [name for name in (BEHIND_LAST_STAGE,) if layers.pop(name, None) is not None]
    scale = 255.0 if model.include_rescaling else 1.0
    settings = {"pixel_mean": (0.0, 0.0, 0.0), "pixel_std": (scale, scale, scale)}
    return Pretrained(f"keras_cv {preset}", layers, settings, unused)


def segformer_imagenet(backbone: str) -> NoReturn:
    """There are none that fit.

    keras_cv's `mit_b0_imagenet` was trained with its own `SegFormerMultiheadAttention`, which reads the transposed
    sequence as if it were an image: what the reduced keys and values mix depends on the 224×224 they were trained at.

    Raises:
        UserError: always, with what there is instead.
    """
    size = backbone.removeprefix("segformer_")
    crop = 640 if size == "b5" else 512
    raise UserError(
        f"no weights of ImageNet alone fit {backbone} (the encoder of keras_cv is tied to images of 224×224): take one "
        f"trained on ImageNet and then ADE20K or Cityscapes, --set model.weights=keras_hub:mit_{size}_ade20k_{crop} or "
        f"keras_hub:mit_{size}_cityscapes_1024"
    )
