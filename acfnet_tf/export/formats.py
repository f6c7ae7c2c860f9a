"""The formats of one file that a model is exported to: what the file is called, how it is written and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.export.graph import conversion, plain_forward
from acfnet_tf.export.litert import open_litert, write_litert
from acfnet_tf.export.onnx import open_onnx, write_onnx
from acfnet_tf.export.openvino import open_openvino, write_openvino
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.loading import load_model

Answer = Callable[[np.ndarray], dict[str, np.ndarray]]
"""(H, W, 3) uint8 → {"labels": (H, W) class indices, "logits": (H, W, N) float32}."""


class FileFormat(NamedTuple):
    """One format.

    Attributes:
        file: its path in the output folder, with {name} for the model's name.
        write: writes a predictor's network, and the classes where the format has a place for them.
        open: gives the function that runs such a file on a batch of images.
    """

    file: str
    write: Callable[[Predictor, Path, ClassSet], None]
    open: Callable[[str], Callable[[np.ndarray], dict]]


def _write_keras(predictor: Predictor, file: Path, _: ClassSet) -> None:
    predictor.model.save(file)


def _open_keras(path: str) -> Callable[[np.ndarray], dict]:
    forward = plain_forward(load_model(path))
    return lambda images: forward(tf.constant(images))


FORMATS = {
    "litert": FileFormat("{name}.tflite", lambda predictor, file, _: write_litert(predictor, file), open_litert),
    "onnx": FileFormat("{name}.onnx", write_onnx, open_onnx),
    "openvino": FileFormat("{name}_openvino/{name}.xml", write_openvino, open_openvino),
    "keras": FileFormat("{name}.keras", _write_keras, _open_keras),
}
SAVED_MODEL = "saved_model"
ALL_FORMATS = (SAVED_MODEL, *FORMATS)
"""The names that --format takes; a SavedModel is a folder of versions, not one file."""


def open_file(file_format: str, path: str | Path) -> Answer:
    """A function that runs an exported file on one image of any size, by the runtime that the format is made for.

    Raises:
        UserError: the file cannot be opened, or the runtime is not installed.
    """
    with conversion(f"opening {path}"):
        of_batch = FORMATS[file_format].open(str(path))
    return lambda image: {name: np.asarray(values)[0] for name, values in of_batch(image[None]).items()}
