"""What an exported SavedModel answers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from acfnet_tf.config import EvaluationConfig, ExportConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.export.saved_model import write_saved_model
from acfnet_tf.importers.colors import numbered_classes
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.visualization.palette import colorize

Picture = Callable[..., np.ndarray]
Pointwise = Callable[[int], Predictor]


@pytest.fixture(scope="module")
def loaded(exported: Path) -> object:
    return tf.saved_model.load(str(exported))


def png(image: np.ndarray) -> bytes:
    return tf.io.encode_png(image).numpy()


def label_files(model: object, *files: bytes) -> dict[str, np.ndarray]:
    found = model.signatures["serving_default"](image_bytes=tf.constant(list(files), tf.string))
    return {name: values.numpy() for name, values in found.items()}


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_files_of_all_sizes_in_one_request(predictor: Predictor, loaded: object, make_picture: Picture) -> None:
    images = [make_picture(*size) for size in ((33, 49), (40, 25), (1, 1))]
    jpeg = tf.io.encode_jpeg(images[0], quality=95).numpy()
    found = label_files(loaded, *map(png, images), jpeg)
    images.append(tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE").numpy())
    assert set(found) == {"label_png_bytes", "size", "color_png_bytes", "coarse_label_png_bytes"}
    np.testing.assert_array_equal(found["size"], [image.shape[:2] for image in images])
    for index, image in enumerate(images):
        labels = predictor.labels(image)
        np.testing.assert_array_equal(decode(found["label_png_bytes"][index]), labels["fine"])
        np.testing.assert_array_equal(decode(found["coarse_label_png_bytes"][index]), labels["coarse"])
        colors = colorize(labels["fine"], CITYSCAPES.colors)
        np.testing.assert_array_equal(decode(found["color_png_bytes"][index]), colors)


def test_no_files(loaded: object) -> None:
    found = label_files(loaded)
    assert {name: values.shape for name, values in found.items()} == {
        "label_png_bytes": (0,), "size": (0, 2), "color_png_bytes": (0,), "coarse_label_png_bytes": (0,)
    }  # fmt: skip


def test_photos_are_turned_upright(predictor: Predictor, loaded: object, make_picture: Picture) -> None:
    image, file, exif = make_picture(20, 30), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(file, "PNG", exif=exif)
    found = label_files(loaded, file.getvalue())
    np.testing.assert_array_equal(found["size"], [[30, 20]])
    np.testing.assert_array_equal(decode(found["label_png_bytes"][0]), predictor(np.rot90(image, -1).copy()))


def test_what_is_wrong_with_which_file(loaded: object, make_picture: Picture) -> None:
    good = png(make_picture(8, 8))
    for bad, reason in (
        (b"text", "image 1 of the request is no JPEG"),
        (png(np.zeros((300, 400, 3), np.uint8)), "image 1 of the request has 400x300 pixels; more than 100000"),
        (good[:-20], "PNG"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            label_files(loaded, good, bad)


def test_tensors_one_by_one_and_together(predictor: Predictor, loaded: object, make_picture: Picture) -> None:
    images = np.stack([make_picture(24, 32, seed) for seed in range(3)])
    found = loaded.signatures["predict_tensor"](images=tf.constant(images))
    assert {name: (values.dtype, values.shape) for name, values in found.items()} == dict.fromkeys(
        ("labels", "confidence", "coarse_labels"), (tf.uint8, images.shape[:3])
    )
    for index, image in enumerate(images):
        labels, probabilities = predictor.labels(image), predictor.probabilities(image)["fine"]
        np.testing.assert_array_equal(found["labels"][index], labels["fine"])
        np.testing.assert_array_equal(found["coarse_labels"][index], labels["coarse"])
        np.testing.assert_allclose(found["confidence"][index], 255 * probabilities.max(axis=-1), atol=0.51)
        alone = loaded.signatures["predict_tensor"](images=tf.constant(image[None]))
        for name, values in alone.items():
            np.testing.assert_array_equal(values[0], found[name][index])
    with pytest.raises(tf.errors.InvalidArgumentError, match="400x300"):
        loaded.signatures["predict_tensor"](images=tf.zeros((1, 300, 400, 3), tf.uint8))


def test_scales_flips_and_probabilities_are_in_the_graph(
    tmp_path: Path, make_picture: Picture, pointwise: Pointwise
) -> None:
    evaluation = EvaluationConfig(multi_scale=True, scales=(1.0, 1.5), flip=True)
    averaging = Predictor(pointwise(19).model, evaluation)
    image = make_picture(20, 31)
    config = ExportConfig(probabilities=True)
    write_saved_model(averaging, tmp_path, "m", CITYSCAPES, config, [image])
    model = tf.saved_model.load(str(tmp_path))
    (labels,) = label_files(model, png(image))["label_png_bytes"]
    np.testing.assert_array_equal(decode(labels), averaging(image))
    assert (decode(labels) != Predictor(averaging.model)(image)).any()
    images = tf.constant(image[None])
    np.testing.assert_array_equal(model.signatures["predict_tensor"](images=images)["labels"][0], averaging(image))
    found = model.signatures["predict_probabilities"](images=images)["probabilities"]
    np.testing.assert_allclose(found[0], averaging.probabilities(image)["fine"], atol=1e-6)


def test_more_than_256_classes(tmp_path: Path, make_picture: Picture, pointwise: Pointwise) -> None:
    many, image = pointwise(300), make_picture(9, 7)
    many.model.weights[-1].assign(np.linspace(0, 3, 300))
    write_saved_model(many, tmp_path, "m", numbered_classes(300), ExportConfig(), [image])
    model = tf.saved_model.load(str(tmp_path))
    (content,) = label_files(model, png(image))["label_png_bytes"]
    assert many(image).max() > 255
    np.testing.assert_array_equal(decode(content), many(image))
    assert model.signatures["predict_tensor"](images=tf.constant(image[None]))["labels"].dtype == tf.uint16


def test_warmup_requests_are_answered(exported: Path, loaded: object) -> None:
    file = exported / "assets.extra" / "tf_serving_warmup_requests"
    asked = set()
    for record in tf.data.TFRecordDataset(str(file)):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "tiny"
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        assert loaded.signatures[request.model_spec.signature_name](**inputs)
        asked.add(request.model_spec.signature_name)
    assert asked == {"serving_default", "predict_tensor"}


def test_nothing_in_it_that_a_server_refuses_and_weights_once(exported: Path, predictor: Predictor) -> None:
    proto = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    functions = proto.meta_graphs[0].graph_def.library.function
    operations = {node.op for function in functions for node in function.node_def}
    assert "Conv2D" in operations and not {name for name in operations if "PyFunc" in name or "Xla" in name}
    assert not any(function.attr["_XlaMustCompile"].b for function in functions)
    stored = sum(file.stat().st_size for file in (exported / "variables").glob("*.data-*"))
    assert stored < 1.3 * sum(4 * int(np.prod(weight.shape)) for weight in predictor.model.weights)


def test_in_keras_without_this_package(
    exported: Path, predictor: Predictor, make_picture: Picture, tmp_path: Path
) -> None:
    image = make_picture(33, 40)
    np.save(tmp_path / "image.npy", image)
    program = f"""
import json, sys, keras, numpy as np
layer = keras.layers.TFSMLayer({str(exported)!r}, call_endpoint="predict_tensor")
labels = layer(np.load("image.npy")[None])["labels"]
assert "acfnet_tf" not in sys.modules
json.dump(np.asarray(labels[0]).tolist(), sys.stdout)
"""
    found = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    np.testing.assert_array_equal(json.loads(found.stdout), predictor(image))
