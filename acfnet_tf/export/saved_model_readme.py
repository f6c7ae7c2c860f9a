"""The README that an exported SavedModel carries, so that whoever finds it can use it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from urllib.parse import quote

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

_TEMPLATE = """\
# {title}

ACFNet, semantic segmentation into {count} classes. Written by acfnet_tf {version} with TensorFlow {tensorflow}.
Inference: {inference}. Images of more than {max_pixels:,} pixels are refused.

## Signatures

{signatures}

Every request may hold any number of images; they are labelled one after another.

## Requests

Serve the folder above this version as model `{name}`:

    tensorflow_model_server --model_name={quoted} --model_base_path=FOLDER --port=8500 --rest_api_port=8501

REST:

```python
import base64, json, urllib.request

content = base64.b64encode(open("image.jpg", "rb").read()).decode()
body = json.dumps({{"instances": [{{"image_bytes": {{"b64": content}}}}]}}).encode()
with urllib.request.urlopen("http://localhost:8501/v1/models/{url}:predict", body) as response:
    (answer,) = json.load(response)["predictions"]
open("labels.png", "wb").write(base64.b64decode(answer["label_png_bytes"]["b64"]))
```

gRPC (`pip install tensorflow-serving-api`):

```python
import grpc, tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

request = predict_pb2.PredictRequest()
request.model_spec.name = {literal}
request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([open("image.jpg", "rb").read()]))
options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
channel = grpc.insecure_channel("localhost:8500", options)
answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
open("labels.png", "wb").write(answer.outputs["label_png_bytes"].string_val[0])
```

## Classes

Also in `assets/classes.json`.

| index | class | red, green, blue |
|---|---|---|
{classes}
"""


def saved_model_readme(
    name: str, signatures: Signatures, predictor: Predictor, classes: ClassSet, config: ExportConfig
) -> str:
    """The text, in Markdown.

    Args:
        name: of the model.
        signatures: of the model, from `make_signatures`.
        predictor: which says how images are labelled.
        classes: of the model.
        config: what the model accepts and answers.
    """
    rows = zip(range(len(classes)), classes.names, classes.colors, strict=True)
    return _TEMPLATE.format(
        title=plain(name),
        name=name,
        quoted=shlex.quote(name),
        url=quote(name),
        literal=json.dumps(name),
        count=len(classes),
        version=__version__,
        tensorflow=tf.__version__,
        inference=describe_inference(predictor.evaluation),
        max_pixels=config.max_pixels,
        signatures="\n\n".join(_signature(key, function) for key, function in signatures.items()),
        classes="\n".join(
            f"| {index} | {plain(label)} | {', '.join(map(str, color))} |" for index, label, color in rows
        ),
    )


def _signature(name: str, function: tf.types.experimental.PolymorphicFunction) -> str:
    concrete = function.get_concrete_function()
    inputs = {spec.name: spec for spec in function.input_signature}
    rows = [*_rows("input", inputs), *_rows("output", concrete.structured_outputs)]
    return "\n".join([f"### `{name}`", "", "| | name | shape | type | |", "|---|---|---|---|---|", *rows])


def _rows(role: str, tensors: Mapping[str, tf.TensorSpec]) -> list[str]:
    axes = "B", "H", "W"
    rows = []
    for name, tensor in tensors.items():
        sizes = [axes[axis] if size is None else str(size) for axis, size in enumerate(tensor.shape)]
        rows.append(f"| {role} | `{name}` | ({', '.join(sizes)}) | {tensor.dtype.name} | {_MEANING[name]} |")
    return rows
