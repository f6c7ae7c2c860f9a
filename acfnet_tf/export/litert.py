"""The network as a LiteRT file (.tflite), for phones and small devices; in float32, or with int8 convolutions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.export.graph import conversion, frozen_forward
from acfnet_tf.inference.predictor import Predictor

FLOAT_OPERATIONS = [
    "SUB", "MUL", "SOFTMAX", "SUM", "MAXIMUM", "MINIMUM", "ABS", "DIV", "TRANSPOSE", "RESHAPE", "BATCH_MATMUL",
    "FULLY_CONNECTED", "RELU",
]  # fmt: skip
"""Not in int8: the class centers and the attention to them, whose weights of 1/(H·W) round to zero; normalisation; the
logits between pixels, which would be equal for several classes; and the places of pixels among features, which would
end with the largest image that calibration has seen. They take hardly any time and space."""


def write_litert(predictor: Predictor, file: Path, calibration: Sequence[np.ndarray] = ()) -> None:
    """Writes `frozen_forward` as a LiteRT file without custom or Flex operations; batch, height and width are free.

    Args:
        calibration: real images (H, W, 3) uint8, of any sizes: convolutions are in int8 then, with the ranges that
            activations have on these images; inputs and outputs stay as they are.

    Raises:
        UserError: `predictor` does more than one forward pass, or the network cannot be converted.
    """
    with conversion("conversion to LiteRT"):
        forward = frozen_forward(predictor).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([forward], tf.Module())
        content = _quantized(converter, calibration) if calibration else converter.convert()
    file.write_bytes(content)


def open_litert(path: str) -> Callable[[np.ndarray], dict]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # announces its threads in the terminal, hence here
    runner = interpreter.get_signature_runner()
    return lambda images: runner(images=images)


def _quantized(converter: tf.lite.TFLiteConverter, calibration: Sequence[np.ndarray]) -> bytes:
    def images() -> list[list[np.ndarray]]:
        return [[image[None]] for image in calibration]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    # The debugger is the one way to say which operations stay in float32.
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=FLOAT_OPERATIONS)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=images, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()
