"""What a server can ask of an exported SavedModel: one function for each signature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.export.image_bytes import assert_fits, decode_upright
from acfnet_tf.heads import COARSE, FINE, label_dtype, to_labels
from acfnet_tf.inference.predictor import Predictor

Signatures = dict[str, tf.types.experimental.PolymorphicFunction]

FILES, TENSORS, PROBABILITIES = "serving_default", "predict_tensor", "predict_probabilities"
"""The signatures' names."""
IMAGE_BYTES, LABEL_PNG = "image_bytes", "label_png_bytes"
"""What `FILES` takes and gives. Only names that end in `_bytes` are base64 in TF Serving's REST interface."""


def make_signatures(predictor: Predictor, classes: ClassSet, config: ExportConfig) -> Signatures:
    """The signatures by name; N is the number of classes.

    serving_default: image_bytes (B,) string → label_png_bytes (B,) string, size (B, 2) int32; with options
        color_png_bytes and coarse_label_png_bytes, (B,) string.
    predict_tensor: images (B, H, W, 3) uint8 → labels and confidence, (B, H, W) uint8; with the option coarse_labels.
        Labels are uint16 for more than 256 classes.
    predict_probabilities, an option: images (B, H, W, 3) uint8 → probabilities (B, H, W, N) float32.

    Args:
        predictor: with the runtime "tensorflow".

    Raises:
        UserError: the model has no coarse head but its labels are asked for, or `classes` are not as many as its own.
    """
    if config.coarse and COARSE not in predictor.heads:
        raise UserError("export.coarse=true: this model has no coarse head; it is a baseline without class features")
    if len(classes) != predictor.num_classes:
        raise UserError(f"the model has {predictor.num_classes} classes, but {len(classes)} are named")
    signatures = {FILES: _label_files(predictor, classes, config), TENSORS: _label_tensors(predictor, config)}
    return signatures | ({PROBABILITIES: _probabilities(predictor, config)} if config.probabilities else {})


def _label_files(
    predictor: Predictor, classes: ClassSet, config: ExportConfig
) -> tf.types.experimental.PolymorphicFunction:
    colors = np.array(classes.colors, np.uint8)

    def label(numbered: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        index, content = numbered
        image = decode_upright(content, config.max_pixels, tf.strings.format("image {} of the request", index))
        labels = {head: maps[0] for head, maps in predictor.label_maps(image[None], _heads(config)).items()}
        answer = {LABEL_PNG: tf.io.encode_png(labels[FINE][..., None]), "size": tf.shape(image)[:2]}
        if config.color:
            answer["color_png_bytes"] = tf.io.encode_png(tf.gather(colors, tf.cast(labels[FINE], tf.int32)))
        if config.coarse:
            answer["coarse_label_png_bytes"] = tf.io.encode_png(labels[COARSE][..., None])
        return answer

    outputs = {LABEL_PNG: tf.TensorSpec([], tf.string), "size": tf.TensorSpec([2], tf.int32)}
    options = {"color_png_bytes": config.color, "coarse_label_png_bytes": config.coarse}
    outputs |= {name: tf.TensorSpec([], tf.string) for name, wanted in options.items() if wanted}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def label_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        # One image after the other, here and below: the memory of a request is that of its largest image.
        numbered = tf.range(tf.size(image_bytes)), image_bytes
        return tf.map_fn(label, numbered, parallel_iterations=1, fn_output_signature=outputs)

    return label_files


def _label_tensors(predictor: Predictor, config: ExportConfig) -> tf.types.experimental.PolymorphicFunction:
    def label(image: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {head: maps[0] for head, maps in predictor.probability_maps(image[None], _heads(config)).items()}
        confidence = tf.cast(tf.round(255 * tf.reduce_max(found[FINE], axis=-1)), tf.uint8)
        answer = {"labels": to_labels(found[FINE]), "confidence": confidence}
        return answer | ({"coarse_labels": to_labels(found[COARSE])} if config.coarse else {})

    labels = tf.TensorSpec([None, None], label_dtype(predictor.num_classes))
    outputs = {"labels": labels, "confidence": tf.TensorSpec([None, None], tf.uint8)}
    return _of_each_image(label, outputs | ({"coarse_labels": labels} if config.coarse else {}), config)


def _probabilities(predictor: Predictor, config: ExportConfig) -> tf.types.experimental.PolymorphicFunction:
    def probabilities(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": predictor.probability_maps(image[None], (FINE,))[FINE][0]}

    output = tf.TensorSpec([None, None, predictor.num_classes], tf.float32)
    return _of_each_image(probabilities, {"probabilities": output}, config)


def _of_each_image(
    answer: Callable[[tf.Tensor], dict[str, tf.Tensor]], outputs: dict[str, tf.TensorSpec], config: ExportConfig
) -> tf.types.experimental.PolymorphicFunction:
    """(B, H, W, 3) uint8 → the answers to (H, W, 3) stacked; too large images are refused."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def answers(images: tf.Tensor) -> dict[str, tf.Tensor]:
        _, height, width, _ = tf.unstack(tf.shape(images, tf.int64))
        with tf.control_dependencies([assert_fits(height, width, config.max_pixels, "each image")]):
            return tf.map_fn(answer, images, parallel_iterations=1, fn_output_signature=outputs)

    return answers


def _heads(config: ExportConfig) -> tuple[str, ...]:
    return (COARSE, FINE) if config.coarse else (FINE,)
