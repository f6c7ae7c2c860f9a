"""Small SavedModels with the signatures of an export and arithmetic in place of a network, quick to write and to load.

The label of a pixel is 1 where the mean of its colours reaches the model's threshold, 0 elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

MAX_PIXELS = 2**20


class ThresholdModel(tf.Module):
    """Labels by brightness.

    Args:
        threshold: mean colour from which on a pixel is of class 1.
    """

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self.threshold = tf.Variable(float(threshold))

    def _labels(self, images: tf.Tensor) -> tf.Tensor:
        """(..., 3) → (...) uint8."""
        return tf.cast(tf.reduce_mean(tf.cast(images, tf.float32), -1) >= self.threshold, tf.uint8)

    def _label_image(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_png = tf.strings.substr(content, 0, 4) == b"\x89PNG"
        header = tf.strings.substr(tf.strings.join([content, bytes(24)]), 16, 8)
        width_height = tf.cast(tf.io.decode_raw(header, tf.int32, little_endian=False), tf.int64)
        pixels = tf.where(is_png, tf.reduce_prod(width_height), 0)
        bound = tf.debugging.assert_less_equal(pixels, tf.constant(MAX_PIXELS, tf.int64), "too many pixels")
        with tf.control_dependencies([bound]):
            image = tf.io.decode_image(tf.identity(content), channels=3, expand_animations=False)
        labels = self._labels(image)
        return tf.io.encode_png(labels[..., None]), tf.shape(labels)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        types = (tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32))
        pngs, sizes = tf.map_fn(self._label_image, image_bytes, fn_output_signature=types)
        return {"label_png_bytes": pngs, "size": sizes}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def predict_tensor(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        labels = self._labels(images)
        return {"labels": labels, "confidence": tf.fill(tf.shape(labels), tf.constant(255, tf.uint8))}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def predict_probabilities(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.one_hot(tf.cast(self._labels(images), tf.int32), 2)}


def write_model(model_dir: Path, version: int = 1, threshold: int = 128) -> Path:
    """Writes the version folder, whole or not at all, with a warm-up request for every signature."""
    model = ThresholdModel(threshold)
    names = ("serving_default", "predict_tensor", "predict_probabilities")
    partial = model_dir / f".{version}.{os.getpid()}"
    tf.saved_model.save(model, str(partial), {name: getattr(model, name) for name in names})
    extra = partial / "assets.extra"
    extra.mkdir()
    pixels = tf.zeros([1, 4, 4, 3], tf.uint8)
    inputs = {name: ("images", tf.make_tensor_proto(pixels)) for name in names}
    inputs["serving_default"] = ("image_bytes", tf.make_tensor_proto([tf.io.encode_png(pixels[0]).numpy()]))
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for name, (key, tensor) in inputs.items():
            log = PredictionLog()
            log.predict_log.request.CopyFrom(predict_request(model_dir.name, {key: tensor}, name))
            writer.write(log.SerializeToString())
    return partial.rename(model_dir / str(version))


def predict_request(name: str, inputs: dict[str, TensorProto], signature: str = "") -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, tensor in inputs.items():
        request.inputs[key].CopyFrom(tensor)
    return request
