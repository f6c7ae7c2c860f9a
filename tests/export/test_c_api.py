"""An exported SavedModel in a process without TensorFlow's Python, Keras or this package, as in TF Serving."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from acfnet_tf.inference.predictor import Predictor

SIZES = ((33, 49), (40, 25), (64, 128))


def library() -> str:
    """TensorFlow's C library, which lies in the package of its Python."""
    spec = importlib.util.find_spec("tensorflow")
    files = [Path(folder) / "libtensorflow_cc.so.2" for folder in spec.submodule_search_locations]
    found = [str(file) for file in files if file.exists()]
    if not found:
        pytest.skip(f"this TensorFlow comes without {files[0].name}")
    return found[0]


def answer(saved_model: Path, files: Sequence[bytes]) -> dict:
    """What the signature serving_default says to these files: {output: list of bytes}, or {"error": message}."""
    proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    signature = proto.meta_graphs[0].signature_def["serving_default"]
    ((_, feed),) = signature.inputs.items()
    fetches = {output.name: name for name, output in signature.outputs.items() if name.endswith("_bytes")}
    finished = subprocess.run(
        [
            sys.executable,
            "-I",
            str(Path(__file__).with_name("c_api.py")),
            library(),
            str(saved_model),
            feed.name,
            *fetches,
        ],
        input=json.dumps([base64.b64encode(file).decode() for file in files]),
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    found = json.loads(finished.stdout)
    if "error" in found:
        return found
    return {fetches[name]: [base64.b64decode(text) for text in texts] for name, texts in found.items()}


def test_labels_images_of_three_sizes_in_one_request_as_the_predictor_does(
    predictor: Predictor, exported: Path, make_picture: Callable[..., np.ndarray]
) -> None:
    images = [make_picture(*size) for size in SIZES]
    found = answer(exported, [tf.io.encode_png(image).numpy() for image in images])
    for image, *pngs in zip(images, found["label_png_bytes"], found["coarse_label_png_bytes"], strict=True):
        labels = predictor.labels(image)
        for png, head in zip(pngs, ("fine", "coarse"), strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), labels[head])


def test_a_function_compiled_by_xla_would_have_failed_here(tmp_path: Path) -> None:
    @tf.function(jit_compile=True)
    def double(x: tf.Tensor) -> tf.Tensor:
        return 2 * x

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"label_png_bytes": tf.strings.as_string(double(tf.strings.length(image_bytes)))}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"serving_default": serve})
    assert "XLA compilation disabled" in answer(tmp_path, [b"abc"])["error"]
