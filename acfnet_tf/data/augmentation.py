"""Data augmentation: random scale, crop and flip (Section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from acfnet_tf.config import DataConfig


def augment(
    image: tf.Tensor, values: tf.Tensor, seed: tf.Tensor, config: DataConfig, anchor: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales, crops and flips an image and its mask alike.

    The window of the source that becomes the crop is cut out first, and only that is resized. This gives the same
    distribution as scaling the whole image and cropping then, in a third of the time.

    Args:
        image: (H, W, 3) uint8.
        values: (H, W), any integer type.
        seed: (2,) int32 or int64. All chance is a pure function of it.
        config: `crop_size`, `scale_range` and `flip` are used.
        anchor: (2,) row and column of a pixel that the crop must hold; negative for none.

    Returns:
        image (h, w, 3) float32 in 0–255 and values (h, w), not larger than the crop; `pad` fills it up.
    """
    chance = tf.unstack(tf.random.stateless_uniform((4,), seed))
    low, high = config.scale_range
    scale = low + chance[0] * (high - low)
    crop = tf.constant(config.crop_size, tf.float32)
    size = tf.cast(tf.shape(values), tf.float32)

    window = tf.clip_by_value(tf.round(crop / scale), 1, size)
    place = tf.stack(chance[1:3])
    offset = tf.floor(place * (size - window + 1))
    if anchor is not None:
        anchor = tf.cast(anchor, tf.float32)
        anchored = tf.clip_by_value(anchor - tf.floor(place * window), 0, size - window)
        offset = tf.where(anchor >= 0, anchored, offset)
    # A window inside the image fills the crop, so that rounding leaves no stripe of padding one pixel wide.
    resized = tf.where(window < size, crop, tf.clip_by_value(tf.round(size * scale), 1, crop))
    resized = tf.cast(resized, tf.int32)

    (top, left), (height, width) = tf.unstack(tf.cast(offset, tf.int32)), tf.unstack(tf.cast(window, tf.int32))
    image = image[top : top + height, left : left + width]
    values = values[top : top + height, left : left + width]
    rows, columns = _nearest(height, resized[0]), _nearest(width, resized[1])
    if config.flip:
        flipped = chance[3] < 0.5
        image = tf.raw_ops.Reverse(tensor=image, dims=[False, flipped, False])
        columns = tf.where(flipped, width - 1 - columns, columns)
    # Both methods put pixel centres at half-integers, so image and mask stay aligned.
    image = tf.image.resize(image, resized, "bilinear")
    # What tf.image.resize(values, resized, "nearest") gives, in half the time: whole rows are copied.
    values = tf.transpose(tf.gather(tf.transpose(tf.gather(values, rows)), columns))
    return image, values


def _nearest(size: tf.Tensor, resized: tf.Tensor) -> tf.Tensor:
    """Which of `size` pixels is the nearest to each of `resized`, (resized,) int32."""
    scale = tf.cast(size, tf.float32) / tf.cast(resized, tf.float32)
    places = (tf.cast(tf.range(resized), tf.float32) + 0.5) * scale
    return tf.minimum(tf.cast(places, tf.int32), size - 1)


def pad(
    image: tf.Tensor, label: tf.Tensor, size: tuple[int, int], ignore_label: int, color: Sequence[float]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fills up to `size` at the bottom and right.

    Args:
        image: (h, w, 3) float32.
        label: (h, w), any integer type.
        ignore_label: what the label is filled with.
        color: what the image is filled with: the model's `pixel_mean`, which its normalisation makes 0, like the zeros
            that convolutions see around an image.

    Returns:
        image (*size, 3) and label (*size), of the same types.
    """
    height, width = tf.unstack(tf.shape(label))
    color = tf.constant(color, tf.float32)
    right = tf.broadcast_to(color, (height, size[1] - width, 3))
    bottom = tf.broadcast_to(color, (size[0] - height, size[1], 3))
    image = tf.concat([tf.concat([image, right], 1), bottom], 0)
    label = tf.pad(label, [[0, size[0] - height], [0, size[1] - width]], constant_values=ignore_label)
    return tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(label, size)
