"""The network as an OpenVINO model, fast on x86 and ARM CPUs: a folder of two files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.export.graph import ENDPOINT, conversion, frozen_forward
from acfnet_tf.inference.predictor import Predictor


def write_openvino(predictor: Predictor, file: Path, classes: ClassSet) -> None:
    """Writes `frozen_forward` in float32 as NAME.xml and, beside it, NAME.bin; batch, height and width are free.

    Its runtime information under "acfnet_tf" is `ENDPOINT` and "classes", the JSON of a class file.

    Raises:
        UserError: `predictor` does more than one forward pass, the network cannot be converted, or packages lack.
    """
    with conversion("conversion to OpenVINO"):
        from acfnet_tf.inference.openvino import openvino

        model = openvino.convert_model(frozen_forward(predictor).get_concrete_function())
        for key, value in {**ENDPOINT, "classes": classes.to_json()}.items():
            model.set_rt_info(value, ["acfnet_tf", key])
        file.parent.mkdir(exist_ok=True)
        openvino.save_model(model, file, compress_to_fp16=False)


def open_openvino(path: str) -> Callable[[np.ndarray], dict]:
    from acfnet_tf.inference.openvino import openvino

    network = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = network(images)
        return {name: found[name] for name in ("labels", "logits")}

    return run
