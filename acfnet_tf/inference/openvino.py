"""The network in OpenVINO: faster than TensorFlow on CPUs."""

from __future__ import annotations

import sys
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from acfnet_tf.layers.dilation import never_differentiated

# Telemetry would report every import and conversion to OpenVINO's makers.
sys.modules.setdefault("openvino_telemetry", None)
import openvino  # noqa: E402


class OpenVino:
    """One forward pass of a Keras model, converted once for each choice of heads.

    Args:
        model: its weights are taken as they are at the first call.
        precision: of the products, "f32" or "bf16".
    """

    def __init__(self, model: keras.Model, precision: Literal["f32", "bf16"]) -> None:
        self._model, self._precision = model, precision
        self._compiled: dict[tuple[str, ...], openvino.CompiledModel] = {}

    def __call__(self, images: tf.Tensor, heads: tuple[str, ...]) -> dict[str, tf.Tensor]:
        """(B, H, W, 3) float32 → {head: (B, H, W, N) float32 logits}."""
        if heads not in self._compiled:
            network = convert(self._model, heads)
            settings = {"INFERENCE_PRECISION_HINT": self._precision}
            self._compiled[heads] = openvino.Core().compile_model(network, "CPU", settings)
        outputs = self._compiled[heads](np.asarray(images))
        return {head: tf.convert_to_tensor(outputs[head]) for head in heads}


def convert(model: keras.Model, heads: tuple[str, ...]) -> openvino.Model:
    """The network as an OpenVINO model: (B, H, W, 3) float32 → one output of logits for each head, by name."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
    def logits(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with never_differentiated():
            outputs = model(images, training=False)
        return {head: tf.cast(outputs[head], tf.float32) for head in heads}

    return openvino.convert_model(logits.get_concrete_function())
