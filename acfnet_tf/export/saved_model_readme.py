"""The README that an exported SavedModel carries, so that whoever finds it can use it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from importlib import resources

import jinja2
import tensorflow as tf

from acfnet_tf._version import __version__
from acfnet_tf.config import ExportConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.export.signatures import Signatures
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.reports.report import describe_inference
from acfnet_tf.tables import plain

_MEANING = {
    "image_bytes": "JPEG, PNG, WebP or BMP files, of any and different sizes",
    "label_png_bytes": "class indices as a grey PNG of the image's size",
    "size": "height and width of the image, turned as its EXIF orientation says",
    "color_png_bytes": "the labels in the colours below, PNG",
    "coarse_label_png_bytes": "as label_png_bytes, of the coarse head",
    "images": "RGB, all of one size",
    "labels": "class indices",
    "confidence": "probability of that class, 0–255",
    "coarse_labels": "class indices of the coarse head",
    "probabilities": "softmax",
}


def saved_model_readme(
    name: str, signatures: Signatures, predictor: Predictor, classes: ClassSet, config: ExportConfig
) -> str:
    """The text, in Markdown.

    Args:
        name: under which the model will be served.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"plain": plain, "shell": shlex.quote, "json": json.dumps, "shape": _shape}
    source = resources.files("acfnet_tf.export") / "saved_model_readme.md.jinja"
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        name=name,
        classes=classes,
        version=__version__,
        tensorflow=tf.__version__,
        inference=describe_inference(predictor.evaluation),
        max_pixels=config.max_pixels,
        signatures={key: list(_tensors(function)) for key, function in signatures.items()},
        meaning=_MEANING,
    )


def _tensors(function: tf.types.experimental.PolymorphicFunction) -> Iterator[tuple[str, str, tf.TensorSpec]]:
    """Role, name, and shape and type of each."""
    for spec in function.input_signature:
        yield "input", spec.name, spec
    for name, spec in function.get_concrete_function().structured_outputs.items():
        yield "output", name, spec


def _shape(tensor: tf.TensorSpec) -> str:
    return ", ".join("BHW"[axis] if size is None else str(size) for axis, size in enumerate(tensor.shape))
