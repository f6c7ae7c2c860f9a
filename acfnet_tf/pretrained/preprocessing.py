"""What ImageNet weights of each source expect of an image: `pixel_mean` and `pixel_std`, RGB in 0–255."""

from __future__ import annotations

from acfnet_tf.config import PIXEL_MEAN, PIXEL_STD

IMAGENET_RGB = {"pixel_mean": PIXEL_MEAN, "pixel_std": PIXEL_STD}
"""The preprocessing of most weights."""
LITE0_RGB = {"pixel_mean": (127.0, 127.0, 127.0), "pixel_std": (128.0, 128.0, 128.0)}
"""The preprocessing of EfficientNet-Lite's TensorFlow original, from which the PyTorch weights were converted."""
MINUS_ONE_TO_ONE = {"pixel_mean": (127.5, 127.5, 127.5), "pixel_std": (127.5, 127.5, 127.5)}

OF_KERAS_NETWORKS = {
    **dict.fromkeys(("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"), MINUS_ONE_TO_ONE),
    **dict.fromkeys((f"efficientnet_v2_b{i}" for i in range(4)), IMAGENET_RGB),
    "efficientnet_lite0": LITE0_RGB,
    "densenet121": IMAGENET_RGB,
}
"""For each of `acfnet_tf.backbones.keras_networks.KERAS_NETWORKS`."""
