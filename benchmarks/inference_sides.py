"""The sides of `inference.py`: what they load, and how each of them labels an image.

`prepare` and `export` write a folder, each side loads from it what it needs. Every call of them is a process of its
own, which `inference.py` starts; nothing heavy is imported before it is known what this one is for.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sides import CORES, ROOT, peak_bytes, take_turns
from train_step import NARROW, arrays_for_torch

FULL = {"backbone": "resnet101", "width": 64}
MODEL, NETWORK, WEIGHTS, IMAGE = "model.keras", "network.json", "weights.npz", "image.npy"
SAVED_MODEL, LITERT, ONNX, OPENVINO = "saved_model", "model.tflite", "model.onnx", "model.xml"
LABELS = "labels_{side}.npy"

Label = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 RGB → (H, W) labels."""


def prepare(folder: Path, size: tuple[int, int], narrow: bool, for_torch: bool) -> None:
    """Writes a scene, a network, and its weights for PyTorch."""
    import keras
    import tensorflow as tf

    import acfnet_tf
    from acfnet_tf.scenes.street_scenes import draw_scene

    image = draw_scene(0, 0, size).image
    np.save(folder / IMAGE, image)
    network = NARROW if narrow else FULL
    (folder / NETWORK).write_text(json.dumps(network))
    keras.utils.set_random_seed(0)
    arguments = {"backbone_width" if name == "width" else name: value for name, value in network.items()}
    model = acfnet_tf.ACFNet(**arguments)
    # BatchNorms of a new network let logits reach a million. With the statistics of this scene the labels vary.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    run = tf.function(lambda images: model(images, training=True))  # eagerly, Keras keeps every output
    run(tf.constant(image[None], tf.float32))
    model.save(folder / MODEL)
    if for_torch:
        np.savez(folder / WEIGHTS, **arrays_for_torch(model))


def export(folder: Path, format: str) -> None:
    """Writes what `main.py --mode=export` writes, without what it verifies, which would take long here."""
    from acfnet_tf import Predictor
    from acfnet_tf.config import ExportConfig
    from acfnet_tf.data.cityscapes import CITYSCAPES
    from acfnet_tf.export.litert import write_litert
    from acfnet_tf.export.onnx import write_onnx
    from acfnet_tf.export.openvino import write_openvino
    from acfnet_tf.export.saved_model import write_saved_model

    predictor = Predictor(folder / MODEL)
    match format:
        case "saved_model":
            warmup = np.zeros((65, 65, 3), np.uint8)
            write_saved_model(predictor, folder / SAVED_MODEL / "1", SAVED_MODEL, CITYSCAPES, ExportConfig(), [warmup])
        case "litert":
            write_litert(predictor, folder / LITERT)
        case "onnx":
            write_onnx(predictor, folder / ONNX, CITYSCAPES)
        case "openvino":
            write_openvino(predictor, folder / OPENVINO, CITYSCAPES)


def start(side: str, folder: Path) -> tuple[dict[str, Any], Callable[[], dict[str, Any]]]:
    """One side's process: it labels the scene once, into a file. A side that fails says why and takes no turns."""
    image = np.load(folder / IMAGE)
    try:
        label = SIDES[side].load(folder)
        np.save(folder / LABELS.format(side=side), label(image).reshape(image.shape[:2]))
    except Exception as error:  # of any kind: a package is missing, or a C++ compiler; a runtime refuses the file
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, dict

    def step() -> dict[str, Any]:
        label(image)
        return {}

    return {"peak": peak_bytes()}, step


def keras_side(folder: Path) -> Label:
    import keras
    import tensorflow as tf

    import acfnet_tf  # noqa: F401 (which tells Keras of its layers)

    model = keras.models.load_model(folder / MODEL, compile=False)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def label(image: tf.Tensor) -> tf.Tensor:
        logits = model(tf.cast(image[None], tf.float32), training=False)["fine"]
        return tf.cast(tf.argmax(logits[0], axis=-1, output_type=tf.int32), tf.uint8)

    return lambda image: label(image).numpy()


def predictor_side(folder: Path, runtime: str = "tensorflow", as_main: bool = False) -> Label:
    """`as_main`: with the setting that `main.py --mode=predict` makes before TensorFlow is imported."""
    if as_main:
        os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"] = "1"
    import acfnet_tf

    return acfnet_tf.Predictor(folder / MODEL, runtime=runtime)


# The exported files are run as by those who deploy them, without this package: it brings TensorFlow, hundreds of MiB.


def saved_model_side(folder: Path) -> Label:
    import tensorflow as tf

    model = tf.saved_model.load(folder / SAVED_MODEL / "1")
    return lambda image: model.signatures["predict_tensor"](images=tf.constant(image[None]))["labels"][0].numpy()


def litert_side(folder: Path) -> Label:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(folder / LITERT), num_threads=CORES).get_signature_runner()
    return lambda image: run(images=image[None])["labels"][0]


def onnx_side(folder: Path) -> Label:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["labels"], {"images": image[None]})[0][0]


def openvino_side(folder: Path, precision: str = "f32") -> Label:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision}
    network = openvino.Core().compile_model(folder / OPENVINO, "CPU", settings)
    return lambda image: network(image[None])["labels"][0]


def torch_side(folder: Path, compiled: bool = False) -> Label:
    import torch
    from torch_acfnet import ACFNet

    torch.set_num_threads(CORES)
    model = ACFNet(**json.loads((folder / NETWORK).read_text())).to(memory_format=torch.channels_last).eval()
    state = model.state_dict()
    with np.load(folder / WEIGHTS) as weights:
        for name in weights:  # one after the other, so that they are not in memory twice
            state[name].copy_(torch.from_numpy(weights[name]))
    network = torch.compile(model) if compiled else model

    def label(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(image[None]).permute(0, 3, 1, 2)  # NHWC is what PyTorch calls channels_last
            logits = network(batch.float(), heads=("fine",))["fine"]
            return logits[0].argmax(0).to(torch.uint8).numpy()

    return label


class Side(NamedTuple):
    title: str
    load: Callable[[Path], Label]
    format: str | None = None
    """What it needs exported."""


SIDES = {
    "keras": Side("Keras model in a `tf.function`", keras_side),
    "predictor": Side("`Predictor`", predictor_side),
    "predictor_main": Side("`Predictor` in `main.py`", functools.partial(predictor_side, as_main=True)),
    "predictor_openvino": Side("`Predictor`, OpenVINO", functools.partial(predictor_side, runtime="openvino")),
    "saved_model": Side("SavedModel, `predict_tensor`", saved_model_side, "saved_model"),
    "litert": Side("LiteRT", litert_side, "litert"),
    "onnx": Side("ONNX Runtime", onnx_side, "onnx"),
    "openvino": Side("OpenVINO", openvino_side, "openvino"),
    "openvino_bfloat16": Side("OpenVINO, bfloat16", functools.partial(openvino_side, precision="bf16"), "openvino"),
    "torch": Side("PyTorch, channels_last", torch_side),
    "torch_compile": Side("PyTorch, channels_last, `torch.compile`", functools.partial(torch_side, compiled=True)),
}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    task, folder, *arguments = sys.argv[1:]
    if task in SIDES:
        take_turns(functools.partial(start, task, Path(folder)))
    else:
        {"prepare": prepare, "export": export}[task](Path(folder), **json.loads(arguments[0]))
