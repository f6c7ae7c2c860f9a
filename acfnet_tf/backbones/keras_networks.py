"""Networks of keras.applications and keras_cv, as they come, by their names here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import keras

from acfnet_tf.config import PIXEL_MEAN, PIXEL_STD
from acfnet_tf.errors import UserError

IMAGENET_RGB = {"pixel_mean": PIXEL_MEAN, "pixel_std": PIXEL_STD}
"""The preprocessing of most weights."""
LITE0_RGB = {"pixel_mean": (127.0, 127.0, 127.0), "pixel_std": (128.0, 128.0, 128.0)}
"""The preprocessing of EfficientNet-Lite's TensorFlow original, from which the PyTorch weights were converted."""
MINUS_ONE_TO_ONE = {"pixel_mean": (127.5, 127.5, 127.5), "pixel_std": (127.5, 127.5, 127.5)}


class KerasNetwork(NamedTuple):
    """A network without pooling and classifier, and what its ImageNet weights ask for.

    Attributes:
        make: of relative width and weights, the functional model (B, H, W, 3) normalised → (B, h, w, C).
        preprocessing: `pixel_mean` and `pixel_std`, RGB in 0–255.
        imagenet_widths: the widths of which there are weights.
        any_width: it can be built in other widths too.
    """

    make: Callable[[float, str | None], keras.Model]
    preprocessing: dict[str, tuple[float, float, float]]
    imagenet_widths: tuple[int, ...] = (64,)
    any_width: bool = True


def _application(name: str, **arguments: Any) -> Callable[[float, str | None], keras.Model]:
    """A network of keras.applications; widths other than 1 are its `alpha`."""

    def make(width: float, weights: str | None) -> keras.Model:
        alpha = {} if width == 1 else {"alpha": width}
        with warnings.catch_warnings():  # Keras would say that the weights were trained at 224×224.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined")
            return getattr(keras.applications, name)(
                include_top=False, weights=weights, input_shape=(None, None, 3), **arguments, **alpha
            )

    return make


def _efficientnet_lite0(width: float, weights: str | None) -> keras.Model:
    from keras_cv.models import EfficientNetLiteBackbone  # It is slow to import.

    return EfficientNetLiteBackbone(
        include_rescaling=False,
        width_coefficient=width,
        depth_coefficient=1.0,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        # Its stem has 32 channels at any width, but the first block is told a scaled number.
        stackwise_input_filters=[32 / width, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        name="efficientnet_lite0",
    )


_BARE = {"include_preprocessing": False}
KERAS_NETWORKS = {
    "mobilenet": KerasNetwork(_application("MobileNet"), MINUS_ONE_TO_ONE, (16, 32, 48, 64)),
    "mobilenet_v2": KerasNetwork(_application("MobileNetV2"), MINUS_ONE_TO_ONE, (32, 48, 64)),
    "mobilenet_v3_small": KerasNetwork(_application("MobileNetV3Small", **_BARE), MINUS_ONE_TO_ONE, (48, 64)),
    "mobilenet_v3_large": KerasNetwork(_application("MobileNetV3Large", **_BARE), MINUS_ONE_TO_ONE, (48, 64)),
    **{
        f"efficientnet_v2_b{i}": KerasNetwork(
            _application(f"EfficientNetV2B{i}", **_BARE), IMAGENET_RGB, any_width=False
        )
        for i in range(4)
    },
    "efficientnet_lite0": KerasNetwork(_efficientnet_lite0, LITE0_RGB),
    "densenet121": KerasNetwork(_application("DenseNet121"), IMAGENET_RGB, any_width=False),
}


def keras_network(name: str, width: int = 64, weights: Literal["imagenet"] | None = None) -> keras.Model:
    """A network under the layer names of its library, which `acfnet_tf.backbones.dilated` keeps.

    Args:
        name: one of `KERAS_NETWORKS`.
        width: relative to the original's 64: 32 halves the channels, as far as the network rounds them.
        weights: "imagenet" takes those of keras.applications, which Keras downloads and keeps. keras_cv has none of
            efficientnet_lite0, which is random whatever is said here.

    Raises:
        ValueError: no such network, or none of that width.
        UserError: no ImageNet weights of that width.
    """
    if name not in KERAS_NETWORKS:
        raise ValueError(f"backbone must be one of {', '.join(KERAS_NETWORKS)}, not {name!r}")
    network = KERAS_NETWORKS[name]
    if width != 64 and not network.any_width:
        raise ValueError(f"{name} has one width only: set backbone_width to 64, not {width}")
    if weights and width not in network.imagenet_widths:
        widths = " or ".join(map(str, network.imagenet_widths))
        raise UserError(
            f"{name} has ImageNet weights for model.backbone_width={widths}, not {width}: set that, or "
            "model.weights=none"
        )
    return network.make(width / 64, weights)
