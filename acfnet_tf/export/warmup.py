"""Requests that TF Serving answers to itself before it says that a model is ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.errors import UserError
from acfnet_tf.export.signatures import Signatures

WARMUP_FILE = "tf_serving_warmup_requests"


def write_warmup(folder: Path, model: str, signatures: Signatures, images: Sequence[np.ndarray]) -> None:
    """Writes the file where TF Serving looks for it.

    One request of all images goes to the signatures for encoded images, one for the first image to the others.

    Args:
        folder: `assets.extra` of the version.
        model: its name.
        signatures: of the model.
        images: (H, W, 3) uint8 each, at least one.

    Raises:
        UserError: the messages of TF Serving are not installed.
    """
    try:
        from tensorflow_serving.apis.predict_pb2 import PredictRequest
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
    except ImportError as error:
        raise UserError('exporting a SavedModel needs more packages: pip install -e ".[export]"') from error
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for name, inputs in _requests(signatures, images):
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, name
            for key, values in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())


def _requests(signatures: Signatures, images: Sequence[np.ndarray]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    for name, function in signatures.items():
        (spec,) = function.input_signature
        files = [tf.io.encode_jpeg(image, quality=90).numpy() for image in images]
        yield name, {spec.name: np.array(files, object) if spec.dtype == tf.string else images[0][None]}
