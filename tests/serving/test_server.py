"""The embedded server asks and answers as TF Serving does."""

from __future__ import annotations

import base64
import io

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from acfnet_tf.serving.server import Server
from tests.serving.asking import CONFIG, ask, encoded, predict
from tests.serving.malformed import good_image
from tests.serving.models import predict_request

PIXELS = np.array([[[[0, 0, 0], [255, 255, 255]]]], np.uint8)


def test_rest_answers_in_the_form_of_the_request(server):
    image = encoded(good_image())
    status, rows = predict(server, {"instances": [image, {"b64": image["b64"]}]})
    assert status == 200
    assert [row["size"] for row in rows["predictions"]] == [[24, 32]] * 2
    labels = Image.open(io.BytesIO(base64.b64decode(rows["predictions"][0]["label_png_bytes"]["b64"])))
    expected = np.asarray(Image.open(io.BytesIO(good_image()))).mean(-1) >= 128
    np.testing.assert_array_equal(np.asarray(labels), expected)
    named = predict(server, {"signature_name": "serving_default", "instances": [{"image_bytes": image}] * 2})
    assert named == (200, rows)
    columns = predict(server, {"inputs": {"image_bytes": [image] * 2, "overlooked": 1}})[1]["outputs"]
    assert columns == {name: [row[name] for row in rows["predictions"]] for name in ("label_png_bytes", "size")}
    assert predict(server, {"inputs": []}) == (200, {"outputs": {"label_png_bytes": [], "size": []}})


def test_rest_gives_a_single_output_without_its_name(server):
    signature = {"signature_name": "predict_probabilities"}
    values = [[[[1.0, 0.0], [0.0, 1.0]]]]
    assert predict(server, {**signature, "instances": PIXELS.tolist()}) == (200, {"predictions": values})
    assert predict(server, {**signature, "inputs": PIXELS.tolist()}) == (200, {"outputs": values})


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/toy", 200),
        ("/V1/Models/toy/versions/1", 200),
        ("/v1/models/toy/metadata", 200),
        ("/v1/models/toy/versions/1/metadata", 200),
        ("/v1/models/other", 404),
        ("/v1/models/toy/versions/2", 404),
        ("/v1/models/toy/versions/2/metadata", 404),
        ("/v1/models/toy/labels/stable", 400),
        ("/v1/models/toy:predict", 400),
        ("/v1/else", 400),
        ("/", 404),
    ],
)
def test_rest_paths(server, path, status):
    found, answer = ask(server, path)
    assert found == status
    assert status == 200 or answer["error"]


def test_status_and_metadata_over_both_protocols(server):
    state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert ask(server, "/v1/models/toy")[1] == {"model_version_status": [state]}
    metadata = ask(server, "/v1/models/toy/metadata")[1]
    inputs = metadata["metadata"]["signature_def"]["signature_def"]["predict_tensor"]["inputs"]
    assert metadata["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
    assert [dim["size"] for dim in inputs["images"]["tensor_shape"]["dim"]] == ["-1", "-1", "-1", "3"]
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = GetModelStatusRequest()
        request.model_spec.name = "toy"
        (version,) = ModelServiceStub(channel).GetModelStatus(request).model_version_status
        assert (version.version, version.state) == (1, version.AVAILABLE)
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "toy"
        signatures = SignatureDefMap()
        PredictionServiceStub(channel).GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
        assert set(signatures.signature_def) >= {"serving_default", "predict_tensor"}


def test_grpc_answers_as_tensorflow_serving_fills_its_tensors(server):
    request = predict_request("toy", {"images": tf.make_tensor_proto(PIXELS)}, "predict_tensor")
    with grpc.insecure_channel(server.grpc_address) as channel:
        response = PredictionServiceStub(channel).Predict(request)
        assert set(response.outputs) == {"labels", "confidence"}
        assert (response.model_spec.version.value, response.model_spec.signature_name) == (1, "predict_tensor")
        labels = response.outputs["labels"]
        assert (labels.dtype, labels.tensor_content, list(labels.int_val)) == (tf.uint8, b"", [0, 1])
        np.testing.assert_array_equal(tf.make_ndarray(labels), [[[0, 1]]])
        request.output_filter.append("labels")
        assert set(PredictionServiceStub(channel).Predict(request).outputs) == {"labels"}


def test_the_name_in_requests_may_differ_from_the_folder(model_dir):
    with Server(model_dir, CONFIG, name="street") as server:
        assert ask(server, "/v1/models/street")[0] == 200
        assert ask(server, "/v1/models/toy")[0] == 404
