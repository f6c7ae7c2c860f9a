"""The dtype of sums over all pixels of an image."""

from __future__ import annotations

import keras


def exact_dtype(layer: keras.layers.Layer) -> str:
    """In which a layer adds up whole images, whatever its dtype policy: "float32", or "float64" where the policy is.

    The variables of the policy "float16" are float16 too, in which such sums overflow and the tiny numbers that avoid a
    division by zero are zero themselves.
    """
    return keras.backend.result_type(layer.variable_dtype, "float32")
