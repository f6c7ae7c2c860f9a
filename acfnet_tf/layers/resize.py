"""Bilinear resizing of logits to the size of another tensor, corners aligned."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("acfnet_tf")
class ResizeLike(keras.layers.Layer):
    """Resizes to the height and width of a reference, so that the corner pixels keep their values.

    Aligned corners are the convention of the 8k + 1 crops of this field: 769 pixels become 97 features, of which
    number i lies exactly on pixel 8·i. Sizes are read at run time. A mixed policy does not round the logits.

    Call arguments:
        inputs: (B, h, w, C), any float dtype.
        reference: (B, H, W, any); only its size is used.

    Returns:
        (B, H, W, C) float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.ResizeBilinear(
            images=tf.cast(inputs, tf.float32), size=tf.shape(reference)[1:3], align_corners=True
        )

    def compute_output_spec(self, inputs: keras.KerasTensor, reference: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], *reference.shape[1:3], inputs.shape[-1]), dtype="float32")
