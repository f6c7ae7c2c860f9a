"""The network as an ONNX file."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.export.graph import ENDPOINT, IMAGES, conversion, frozen_forward
from acfnet_tf.inference.predictor import Predictor

if TYPE_CHECKING:
    from onnx import ModelProto

AXES = ("batch", "height", "width")


def write_onnx(predictor: Predictor, file: Path, classes: ClassSet) -> None:
    """Writes `frozen_forward` as an ONNX file; batch, height and width are free.

    Its metadata are `ENDPOINT` and "classes", the JSON of a class file.

    Raises:
        UserError: `predictor` does more than one forward pass, the network cannot be converted, or packages lack.
    """
    with conversion("conversion to ONNX"), _prompt_collection():
        import onnx
        import tf2onnx

        model, _ = tf2onnx.convert.from_function(frozen_forward(predictor), input_signature=[IMAGES])
        _pad_explicitly(model)
        for value in (*model.graph.input, *model.graph.output):
            for dimension, name in zip(value.type.tensor_type.shape.dim, AXES, strict=False):
                dimension.dim_param = name
        onnx.helper.set_model_props(model, {**ENDPOINT, "classes": classes.to_json()})
        onnx.checker.check_model(model, full_check=True)
    file.write_bytes(model.SerializeToString())


def open_onnx(path: str) -> Callable[[np.ndarray], dict]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


@contextlib.contextmanager
def _prompt_collection() -> Iterator[None]:
    """Collects garbage often: tf2onnx leaves copies of all weights in reference cycles, which are few objects.

    Without it ResNet-101's conversion takes twice the memory.
    """
    thresholds = gc.get_threshold()
    gc.freeze()  # only what is new is looked through
    gc.set_threshold(1000, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _pad_explicitly(model: ModelProto) -> None:
    """Replaces the padding "SAME", which ONNX Runtime lacks for dilated convolutions, by rate · (kernel size − 1) / 2.

    It is the same for odd kernels at stride 1; this network has no others with "SAME".
    """
    import onnx

    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type != "Conv" or "auto_pad" not in attributes or attributes["auto_pad"].s != b"SAME_UPPER":
            continue
        pads = [
            rate * (size - 1) // 2
            for rate, size in zip(attributes["dilations"].ints, attributes["kernel_shape"].ints, strict=True)
        ]
        node.attribute.remove(attributes["auto_pad"])
        node.attribute.append(onnx.helper.make_attribute("pads", pads * 2))
