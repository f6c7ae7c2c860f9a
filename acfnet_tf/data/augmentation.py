"""Data augmentation (Section 4.2): random scale, random crop, random horizontal flip."""

from __future__ import annotations

import tensorflow as tf

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes_labels import IGNORE_LABEL

IMAGE_MEAN = (123.675, 116.28, 103.53)
"""RGB mean of ImageNet, 0–255. It becomes 0 in the model's normalisation, so padding looks like nothing."""


def augment(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, config: DataConfig, *, pad_label: int = IGNORE_LABEL
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales, crops and flips an image and its mask alike; pads at the bottom and right what is too small for the crop.

    The window of the source that becomes the crop is cut out first, and only that is resized. This gives the same
    distribution as scaling the whole image and cropping then, in a third of the time.

    Args:
        image: (H, W, 3) uint8.
        label: (H, W) uint8.
        seed: (2,) int32 or int64. All chance is a pure function of it.
        config: `crop_size`, `scale_range` and `flip` are used.
        pad_label: value of padded mask pixels.

    Returns:
        image (crop_h, crop_w, 3) float32 in 0–255, padded with `IMAGE_MEAN`, and label (crop_h, crop_w) uint8.
    """
    chance = tf.unstack(tf.random.stateless_uniform((4,), seed))
    low, high = config.scale_range
    scale = low + chance[0] * (high - low)
    crop = tf.constant(config.crop_size, tf.float32)
    size = tf.cast(tf.shape(label), tf.float32)

    window = tf.clip_by_value(tf.round(crop / scale), 1, size)
    offset = tf.floor(tf.stack(chance[1:3]) * (size - window + 1))
    # A window inside the image fills the crop, so that rounding leaves no stripe of padding one pixel wide.
    resized = tf.where(window < size, crop, tf.clip_by_value(tf.round(size * scale), 1, crop))
    resized = tf.cast(resized, tf.int32)

    (top, left), (height, width) = tf.unstack(tf.cast(offset, tf.int32)), tf.unstack(tf.cast(window, tf.int32))
    image = image[top : top + height, left : left + width]
    label = label[top : top + height, left : left + width, tf.newaxis]
    if config.flip:
        dims = [False, chance[3] < 0.5, False]
        image, label = tf.raw_ops.Reverse(tensor=image, dims=dims), tf.raw_ops.Reverse(tensor=label, dims=dims)
    # Both methods put pixel centres at half-integers, so image and mask stay aligned.
    image = tf.image.resize(image, resized, "bilinear")
    label = tf.image.resize(label, resized, "nearest")[..., 0]

    (crop_height, crop_width), (height, width) = config.crop_size, tf.unstack(resized)
    right = tf.broadcast_to(IMAGE_MEAN, (height, crop_width - width, 3))
    bottom = tf.broadcast_to(IMAGE_MEAN, (crop_height - height, crop_width, 3))
    image = tf.concat([tf.concat([image, right], 1), bottom], 0)
    label = tf.pad(label, [[0, crop_height - height], [0, crop_width - width]], constant_values=pad_label)
    return tf.ensure_shape(image, (*config.crop_size, 3)), tf.ensure_shape(label, config.crop_size)
