"""Opens exported files with the runtimes they are made for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.export.graph import conversion, plain_forward
from acfnet_tf.models.loading import load_model

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
"""(H, W, 3) uint8 → {"labels": (H, W), "logits": (H, W, N) float32}."""


def open_runtime(format: str, path: str | Path) -> Run:
    """A function that runs an exported file on one image of any size.

    Args:
        format: "litert", "onnx", "openvino" (in float32) or "keras".
        path: the file; of "openvino" the .xml.

    Returns:
        (H, W, 3) uint8 → {"labels": (H, W) class indices, "logits": (H, W, N) float32}.

    Raises:
        UserError: the file cannot be opened, or the runtime is not installed.
    """
    with conversion(f"opening {path}"):
        batch_of_one = OPENERS[format](str(path))
    return lambda image: {name: np.asarray(values)[0] for name, values in batch_of_one(image[None]).items()}


def _open_litert(path: str) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # announces its threads in the terminal, hence here
    runner = interpreter.get_signature_runner()
    return lambda images: runner(images=images)


def _open_onnx(path: str) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


def _open_openvino(path: str) -> Run:
    from acfnet_tf.inference.openvino import openvino

    network = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = network(images)
        return {name: found[name] for name in ("labels", "logits")}

    return run


def _open_keras(path: str) -> Run:
    forward = plain_forward(load_model(path))
    return lambda images: forward(tf.constant(images))


OPENERS: dict[str, Callable[[str], Run]] = {
    "litert": _open_litert,
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "keras": _open_keras,
}
