"""Networks of keras.applications and keras_cv, as they come, by their names here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import keras


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
    "mobilenet": _application("MobileNet"),
    "mobilenet_v2": _application("MobileNetV2"),
    "mobilenet_v3_small": _application("MobileNetV3Small", **_BARE),
    "mobilenet_v3_large": _application("MobileNetV3Large", **_BARE),
    **{f"efficientnet_v2_b{i}": _application(f"EfficientNetV2B{i}", **_BARE) for i in range(4)},
    "efficientnet_lite0": _efficientnet_lite0,
    "densenet121": _application("DenseNet121"),
}
"""Makes each, without pooling and classifier, of relative width and weights: (B, H, W, 3) normalised → (B, h, w, C)."""
_ONE_WIDTH = ("densenet121", *(f"efficientnet_v2_b{i}" for i in range(4)))


def keras_network(name: str, width: int = 64, weights: Literal["imagenet"] | None = None) -> keras.Model:
    """A network under the layer names of its library, which `acfnet_tf.backbones.dilated` keeps.

    Args:
        name: one of `KERAS_NETWORKS`.
        width: relative to the original's 64: 32 halves the channels, as far as the network rounds them.
        weights: "imagenet" takes those of keras.applications, which Keras downloads and keeps. keras_cv has none of
            efficientnet_lite0, which is random whatever is said here.

    Raises:
        ValueError: no such network, or none of that width.
    """
    if name not in KERAS_NETWORKS:
        raise ValueError(f"backbone must be one of {', '.join(KERAS_NETWORKS)}, not {name!r}")
    if width != 64 and name in _ONE_WIDTH:
        raise ValueError(f"{name} has one width only: set backbone_width to 64, not {width}")
    return KERAS_NETWORKS[name](width / 64, weights)
