"""Changes of an image's colours by layers of keras_cv, which are handed their chance instead of drawing it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

RANGES = {
    "sharpness": (-1.0, 1.0),  # from sharpened to smoothed
    "color_degeneration": (0.0, 1.0),  # up to grey
    "brightness": (-32.0, 32.0),
    "contrast": (0.5, 1.5),
    "hue": (-0.1, 0.1),  # of the circle
    "saturation": (1 / 3, 0.6),  # x stands for the factor x / (1 - x): 0.5 … 1.5
    "equalization": (0.0, 0.0),
    "auto_contrast": (0.0, 0.0),
}
"""What `data.photometric` may name, and of which amounts one is drawn; the last two have none."""


USUAL = ("brightness", "contrast", "saturation", "hue")
"""What `data.photometric=true` means: the operations and ranges of mmsegmentation, and of SSD before it."""


def change_colors(image: tf.Tensor, seed: tf.Tensor, kinds: Sequence[str] | Literal[True]) -> tf.Tensor:
    """Applies each kind of change with probability ½, one after the other, by amounts that are uniform in their ranges.

    Args:
        image: (H, W, 3) float32 RGB in 0–255.
        seed: (2,). All chance is a pure function of it and the kind.
        kinds: of `RANGES`; True for the usual ones.

    Returns:
        The same, in 0–255.
    """
    for kind in USUAL if kinds is True else kinds:
        image = _change(image, seed, kind)
    return image


def _change(image: tf.Tensor, seed: tf.Tensor, kind: str) -> tf.Tensor:
    chance = tf.random.stateless_uniform((2,), tf.random.experimental.stateless_fold_in(seed, list(RANGES).index(kind)))
    low, high = RANGES[kind]
    amount = tf.reshape(low + chance[1] * (high - low), (1,) if kind in ("hue", "saturation") else (1, 1, 1, 1))
    layer = _layers()[kind]
    # A smoothing window of 3×3 pixels does not fit into less.
    wanted = (chance[0] < 0.5) & (kind != "sharpness" or tf.reduce_min(tf.shape(image)[:2]) > 2)
    changed = tf.cond(wanted, lambda: layer.augment_images(image[None], transformations=amount)[0], lambda: image)
    return tf.ensure_shape(changed, image.shape)


@functools.cache
def _layers() -> dict[str, Any]:
    """The layers by kind. What they would draw if they were called does not matter."""
    with tf.init_scope():  # Each makes a generator, which a graph of tf.data could not hold.
        from keras_cv import layers  # It is slow to import.

        same = {"value_range": (0, 255), "dtype": "float32"}  # The dtype policy does not matter.
        return {
            "sharpness": layers.RandomSharpness(1.0, **same),
            "color_degeneration": layers.RandomColorDegeneration(1.0, dtype="float32"),
            "brightness": layers.RandomBrightness(1.0, **same),
            "contrast": layers.RandomContrast(factor=1.0, **same),
            "hue": layers.RandomHue(1.0, **same),
            "saturation": layers.RandomSaturation(1.0, dtype="float32"),
            "equalization": layers.Equalization(**same),
            "auto_contrast": layers.AutoContrast(**same),
        }
