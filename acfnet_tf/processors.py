"""What the processors here make of a precision, in words."""

from __future__ import annotations

import tensorflow as tf


def precision_in_words(precision: str, runtime: str = "tensorflow") -> str:
    """How maps are multiplied here, for one of `acfnet_tf.config.Precision`, or by a runtime that has its own."""
    if runtime != "tensorflow":
        return "bfloat16" if runtime.endswith("bfloat16") else "float32"
    if precision.startswith("mixed_"):
        return f"{precision.removeprefix('mixed_')}, with float32 variables, class centers and losses"
    gpus = tf.config.get_visible_devices("GPU")
    if precision == "tf32" and any(_has_tf32(gpu) for gpu in gpus):
        return "TF32, float32 whose factors are rounded to 11 bits"
    return "float32"


def _has_tf32(gpu: tf.config.PhysicalDevice) -> bool:
    """Ampere is the first generation of NVIDIA's that has it."""
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) >= (8, 0)
