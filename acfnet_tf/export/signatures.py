"""What a server can ask of an exported SavedModel: one function for each signature."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.export.image_bytes import assert_fits, decode_upright
from acfnet_tf.inference.predictor import Predictor

Signatures = dict[str, tf.types.experimental.PolymorphicFunction]

_FILES = tf.TensorSpec([None], tf.string, name="image_bytes")
_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")


def make_signatures(predictor: Predictor, classes: ClassSet, config: ExportConfig) -> Signatures:
    """The signatures by name; N is the number of classes.

    serving_default: image_bytes (B,) string → label_png_bytes (B,) string, size (B, 2) int32; with options
        color_png_bytes and coarse_label_png_bytes, (B,) string.
    predict_tensor: images (B, H, W, 3) uint8 → labels and confidence, (B, H, W) uint8; with the option coarse_labels.
        Labels are uint16 for more than 256 classes.
    predict_probabilities, an option: images (B, H, W, 3) uint8 → probabilities (B, H, W, N) float32.

    Only names that end in `_bytes` are base64 in TF Serving's REST interface; hence the names.

    Args:
        predictor: with the runtime "tensorflow".
        classes: of the model.
        config: the options.

    Raises:
        UserError: the model has no coarse head but its labels are asked for, or `classes` are not as many as its own.
    """
    if config.coarse and "coarse" not in predictor.heads:
        raise UserError("export.coarse=true: this model has no coarse head; it is a baseline without class features")
    if len(classes) != predictor.num_classes:
        raise UserError(f"the model has {predictor.num_classes} classes, but {len(classes)} are named")
    signatures = {
        "serving_default": _label_files(predictor, classes, config),
        "predict_tensor": _label_tensors(predictor, config),
    }
    return signatures | ({"predict_probabilities": _probabilities(predictor, config)} if config.probabilities else {})


def _label_files(
    predictor: Predictor, classes: ClassSet, config: ExportConfig
) -> tf.types.experimental.PolymorphicFunction:
    heads = _heads(config)
    colors = np.array(classes.colors, np.uint8)

    def label(numbered: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        index, content = numbered
        image = decode_upright(content, config.max_pixels, tf.strings.format("image {} of the request", index))
        labels = predictor.label_maps(image[None], heads)
        answer = {"label_png_bytes": tf.io.encode_png(labels["fine"][0, ..., None]), "size": tf.shape(image)[:2]}
        if config.color:
            answer["color_png_bytes"] = tf.io.encode_png(tf.gather(colors, tf.cast(labels["fine"][0], tf.int32)))
        if config.coarse:
            answer["coarse_label_png_bytes"] = tf.io.encode_png(labels["coarse"][0, ..., None])
        return answer

    outputs = {"label_png_bytes": tf.TensorSpec([], tf.string), "size": tf.TensorSpec([2], tf.int32)}
    options = {"color_png_bytes": config.color, "coarse_label_png_bytes": config.coarse}
    outputs |= {name: tf.TensorSpec([], tf.string) for name, wanted in options.items() if wanted}

    @tf.function(input_signature=[_FILES])
    def label_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        # One image after the other, here and below: the memory of a request is that of its largest image.
        numbered = tf.range(tf.size(image_bytes)), image_bytes
        return tf.map_fn(label, numbered, parallel_iterations=1, fn_output_signature=outputs)

    return label_files


def _label_tensors(predictor: Predictor, config: ExportConfig) -> tf.types.experimental.PolymorphicFunction:
    heads = _heads(config)
    label_type = tf.uint8 if predictor.num_classes <= 256 else tf.uint16

    def to_labels(probabilities: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.argmax(probabilities, axis=-1, output_type=tf.int32), label_type)

    def label(image: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {head: values[0] for head, values in predictor.probability_maps(image[None], heads).items()}
        confidence = tf.cast(tf.round(255 * tf.reduce_max(found["fine"], axis=-1)), tf.uint8)
        answer = {"labels": to_labels(found["fine"]), "confidence": confidence}
        return answer | ({"coarse_labels": to_labels(found["coarse"])} if config.coarse else {})

    outputs = {"labels": tf.TensorSpec([None, None], label_type), "confidence": tf.TensorSpec([None, None], tf.uint8)}
    outputs |= {"coarse_labels": outputs["labels"]} if config.coarse else {}

    @tf.function(input_signature=[_IMAGES])
    def label_tensors(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([_assert_fit(images, config)]):
            return tf.map_fn(label, images, parallel_iterations=1, fn_output_signature=outputs)

    return label_tensors


def _probabilities(predictor: Predictor, config: ExportConfig) -> tf.types.experimental.PolymorphicFunction:
    def probabilities(image: tf.Tensor) -> tf.Tensor:
        return predictor.probability_maps(image[None], ("fine",))["fine"][0]

    output = tf.TensorSpec([None, None, predictor.num_classes], tf.float32)

    @tf.function(input_signature=[_IMAGES])
    def all_probabilities(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([_assert_fit(images, config)]):
            found = tf.map_fn(probabilities, images, parallel_iterations=1, fn_output_signature=output)
        return {"probabilities": found}

    return all_probabilities


def _heads(config: ExportConfig) -> tuple[str, ...]:
    return ("fine", "coarse") if config.coarse else ("fine",)


def _assert_fit(images: tf.Tensor, config: ExportConfig) -> tf.Operation:
    _, height, width, _ = tf.unstack(tf.shape(images, tf.int64))
    return assert_fits(height, width, config.max_pixels, "each image")
