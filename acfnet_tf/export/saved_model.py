"""The SavedModel: for TF Serving, `tf.saved_model.load`, `keras.layers.TFSMLayer`, and TensorFlow of any language."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.export.saved_model_readme import saved_model_readme
from acfnet_tf.export.signatures import Signatures, make_signatures
from acfnet_tf.inference.predictor import Predictor

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
"""In a version: requests that TF Serving answers to itself before it says that a model is ready."""


def write_saved_model(
    predictor: Predictor,
    version: Path,
    name: str,
    classes: ClassSet,
    config: ExportConfig,
    warmup_images: Sequence[np.ndarray],
) -> None:
    """Writes one version of a model; see `make_signatures` for what it answers.

    Args:
        predictor: labels images as the exported model shall, with the runtime "tensorflow".
        version: the version's folder, which `publish` can give its number.
        name: under which the model will be served.
        classes: also written to `assets/classes.json`.
        warmup_images: each (H, W, 3) uint8, of sizes as the server will get them. It labels them before it says that
            it is ready, so that no client waits for what happens once only.

    Raises:
        UserError: the options do not suit the model or the images, TensorFlow cannot write the files, or a package is
            missing.
        OSError: the folder cannot be written.
    """
    for height, width, _ in (image.shape for image in warmup_images):
        if height * width > config.max_pixels:
            raise UserError(
                f"export.max_pixels={config.max_pixels}: the model would refuse images as these, {width}×{height};"
                f" set {height * width} or more"
            )
    signatures = make_signatures(predictor, classes, config)
    try:
        _write_graph(version, predictor, signatures)
        for folder in ("assets", "assets.extra"):
            (version / folder).mkdir(parents=True, exist_ok=True)
        (version / "assets" / "classes.json").write_text(classes.to_json(), encoding="utf-8")
        readme = saved_model_readme(name, signatures, predictor, classes, config)
        (version / "assets.extra" / "README.md").write_text(readme, encoding="utf-8")
        _write_warmup(version / WARMUP_FILE, name, signatures, warmup_images)
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0].split(";")[-1].strip()  # without the name of a hidden folder
        raise UserError(f"cannot write the SavedModel {name}: {reason}") from error


def publish(version: Path, folder: Path) -> Path:
    """Moves a finished version, of the same disk, to the next free number of a model's folder, and returns its place.

    A server that polls the folder sees the version whole or not at all.
    """
    folder.mkdir(exist_ok=True)
    while True:
        numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        target = folder / str(max(numbers, default=0) + 1)
        try:
            os.rename(version, target)
        except OSError:
            if not target.exists():
                raise  # else another export took that number at the same moment
        else:
            return target


def _write_graph(version: Path, predictor: Predictor, signatures: Signatures) -> None:
    module = tf.Module()
    module.weights = [variable.value for variable in predictor.model.variables]
    tf.saved_model.save(module, str(version), signatures=signatures)


def _write_warmup(file: Path, model: str, signatures: Signatures, images: Sequence[np.ndarray]) -> None:
    """One request of all images goes to the signatures for encoded images, one for the first image to the others."""
    with needs_extra("export", "exporting a SavedModel"):
        from tensorflow_serving.apis.predict_pb2 import PredictRequest
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
    files = np.array([tf.io.encode_jpeg(image, quality=90).numpy() for image in images], object)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, function in signatures.items():
            (spec,) = function.input_signature
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, name
            values = files if spec.dtype == tf.string else images[0][None]
            request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(values))
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())
