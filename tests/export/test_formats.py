"""Converted files say what the Keras model says, at any size, on the runtimes that they are made for."""

from __future__ import annotations

import dataclasses
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.config import EvaluationConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.export.formats import FORMATS, open_file
from acfnet_tf.export.graph import float32
from acfnet_tf.export.litert import write_litert
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.create import create_model
from tests.tiny import tiny_experiment

CONVERTED = ("litert", "onnx", "openvino")


def decided(scores, error):
    """Which pixels have a best class in spite of an error: a random network may leave two equal but for rounding."""
    second, first = np.moveaxis(np.sort(scores, axis=-1)[..., -2:], -1, 0)
    return first - second > 2 * error


def write(format, predictor, folder, classes=CITYSCAPES):
    file = folder / FORMATS[format].file.format(name="a")
    FORMATS[format].write(predictor, file, classes)
    return file


def numbered(count):
    return ClassSet(tuple(map(str, range(count))), default_colors(count), {value: value for value in range(count)})


@pytest.fixture(scope="module")
def files(predictor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {format: write(format, predictor, folder) for format in CONVERTED}


@pytest.fixture(scope="module")
def batch_runs(files):
    return {format: FORMATS[format].open(str(file)) for format, file in files.items()}


@pytest.mark.parametrize("format", CONVERTED)
@settings(max_examples=6, deadline=None)
@given(shape=st.tuples(*map(st.integers, (1, 1, 1), (2, 60, 60))), seed=st.integers(0, 9))
def test_any_batch_height_and_width(format, batch_runs, predictor, shape, seed):
    images = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    found = batch_runs[format](images)
    logits = predictor.model(images, training=False)["fine"].numpy()
    assert found["labels"].dtype == np.uint8
    tolerance = 1e-4 * np.abs(logits).max()
    np.testing.assert_allclose(found["logits"], logits, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found["labels"], found["logits"].argmax(axis=-1))
    clear = decided(logits, tolerance)
    np.testing.assert_array_equal(found["labels"][clear], np.array([predictor(image) for image in images])[clear])


@pytest.mark.parametrize(
    ("experiment", "num_classes", "precision", "formats"),
    [("acf_concat", 300, "mixed_bfloat16", ["litert", "openvino"]), ("class_center", 5, "float32", ["onnx"])],
)
def test_other_networks(experiment, num_classes, precision, formats, make_picture, tmp_path):
    """300 classes do not fit uint8; of a network trained in bfloat16, files hold its twin in float32."""
    # A rate at which dilated convolutions have their own gradient, of which files must know nothing.
    config = dataclasses.replace(tiny_experiment(experiment).model, num_classes=num_classes, aspp_rates=(2, 9))
    mixed = Predictor(create_model(config, precision))
    predictor = Predictor(float32(mixed.model))
    image = make_picture(37, 53)
    labels, probabilities = predictor(image), predictor.probabilities(image)["fine"]
    np.testing.assert_allclose(mixed.probabilities(image)["fine"], probabilities, atol=0.05)
    for format in formats:
        found = open_file(format, write(format, mixed, tmp_path, numbered(num_classes)))(image)
        assert found["labels"].dtype == labels.dtype
        np.testing.assert_allclose(tf.nn.softmax(found["logits"]), probabilities, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found["labels"], found["logits"].argmax(axis=-1), format)
        clear = decided(probabilities, 1e-5)
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(found["labels"][clear], labels[clear], format)


def test_onnx_names_axes_and_classes(files):
    import onnx

    model = onnx.load(files["onnx"])
    axes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert axes == {
        "images": ["batch", "height", "width", 3],
        "labels": ["batch", "height", "width"],
        "logits": ["batch", "height", "width", 19],
    }
    text = {prop.key: prop.value for prop in model.metadata_props}["classes"]
    assert ClassSet.from_json(text).names == CITYSCAPES.names


def test_openvino_carries_the_classes(files):
    from acfnet_tf.inference.openvino import openvino

    information = openvino.Core().read_model(files["openvino"]).get_rt_info(["acfnet_tf", "classes"])
    assert ClassSet.from_json(information.astype(str)).names == CITYSCAPES.names


def test_int8_of_any_size_without_chatter(predictor, files, make_picture, tmp_path, capfd):
    from ai_edge_litert.interpreter import Interpreter

    file = tmp_path / "int8.tflite"
    write_litert(predictor, file, [make_picture(64, 128), make_picture(33, 50, 1)])
    # A network as tiny as this one is half its size only, as much of it is not weights, and converters differ in that.
    assert file.stat().st_size < 0.75 * files["litert"].stat().st_size
    interpreter = Interpreter(model_path=str(file))
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    found = {(operation["op_name"], types[operation["outputs"][0]]) for operation in interpreter._get_ops_details()}
    assert ("CONV_2D", np.int8) in found and ("CONV_2D", np.float32) not in found
    assert ("BATCH_MATMUL", np.float32) in found and ("BATCH_MATMUL", np.int8) not in found
    run, exact = open_file("litert", file), open_file("litert", files["litert"])
    largest = np.abs(exact(make_picture(64, 128))["logits"]).max()
    for size in ((64, 128), (41, 77), (1, 1)):
        image = make_picture(*size)
        found, expected = run(image), exact(image)
        assert found["labels"].dtype == np.uint8 and found["labels"].shape == size
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=0.1 * largest)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", CONVERTED)
def test_more_than_one_pass_is_refused(format, predictor, tmp_path):
    for evaluation in (EvaluationConfig(flip=True), EvaluationConfig(multi_scale=True), EvaluationConfig("sliding")):
        with pytest.raises(UserError, match=r"evaluation\.mode=whole.*saved_model"):
            write(format, Predictor(predictor.model, evaluation), tmp_path)
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("tests")
class Fourier(keras.layers.Layer):
    """What no converter knows."""

    def call(self, inputs):
        return inputs + tf.math.real(tf.signal.ifft3d(tf.signal.fft3d(tf.cast(inputs, tf.complex64))))


@pytest.mark.parametrize(("format", "shown"), [("litert", "LiteRT"), ("onnx", "ONNX"), ("openvino", "OpenVINO")])
def test_what_cannot_be_converted_is_named_in_one_line(format, shown, tmp_path):
    images = keras.Input((None, None, 3))
    outputs = {"fine": keras.layers.Conv2D(5, 1)(Fourier()(images))}
    with pytest.raises(UserError, match=f"^conversion to {shown} failed: .*FFT3D") as error:
        write(format, Predictor(keras.Model(images, outputs)), tmp_path, numbered(5))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize(("format", "package"), [("onnx", "tf2onnx"), ("openvino", "openvino")])
def test_missing_packages_name_the_extra(format, package, predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'needs more packages \({package}\): pip install -e "\.\[export\]"'):
        write(format, predictor, tmp_path)


def test_what_is_no_such_file_cannot_be_opened(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"text")
    with pytest.raises(UserError, match=r"opening .*a\.onnx failed: "):
        open_file("onnx", tmp_path / "a.onnx")
