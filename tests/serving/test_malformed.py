"""Whatever is sent, the server says what is wrong with it, stays small, and answers the next request."""

from __future__ import annotations

import base64
import json
import resource
import socket
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tensorflow as tf
import urllib3
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from acfnet_tf.config import ServeConfig
from acfnet_tf.serving.server import Server
from tests.serving import malformed
from tests.serving.models import predict_request, write_model

GROWTH_MIB = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models") / "toy"
    folder.mkdir()
    write_model(folder)
    with Server(folder, ServeConfig(rest_port=0, grpc_port=0)) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server) -> Iterator[PredictionServiceStub]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield PredictionServiceStub(channel)


@pytest.fixture(autouse=True)
def _stays_well(server) -> Iterator[None]:
    """After each test the server answers a good request, and no request has cost much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    status, answer = post(server, json.dumps({"inputs": [encoded(malformed.good_image())]}).encode())
    assert status == 200
    assert answer["outputs"]["size"] == [[24, 32]]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < GROWTH_MIB


def encoded(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def post(server: Server, body: bytes, **headers: str) -> tuple[int, dict]:
    url = f"{server.rest_address}/v1/models/toy:predict"
    response = urllib3.request("POST", url, body=body, headers=headers, retries=False)
    return response.status, response.json()


def code_and_details(stub: PredictionServiceStub, request: PredictRequest) -> tuple[str, str]:
    try:
        stub.Predict(request)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def image_answer(stub: PredictionServiceStub, content: bytes) -> str:
    return code_and_details(stub, predict_request("toy", {"image_bytes": tf.make_tensor_proto([content])}))[0]


def test_broken_images_are_refused(server, stub):
    cases = dict(malformed.broken_images())
    assert {name: image_answer(stub, content) for name, content in cases.items()} == dict.fromkeys(
        cases, "INVALID_ARGUMENT"
    )
    for content in cases.values():
        status, answer = post(server, json.dumps({"instances": [encoded(content)]}).encode())
        assert status == 400
        assert answer["error"]


def test_odd_and_damaged_images_are_refused_or_answered(stub):
    cases = [*malformed.odd_images(), *malformed.damaged_images(150)]
    answers = {name: image_answer(stub, content) for name, content in cases}
    assert set(answers.values()) == {"OK", "INVALID_ARGUMENT"}, answers


def test_one_broken_image_fails_its_request_only(stub):
    both = tf.make_tensor_proto([malformed.good_image(), b"broken"])
    assert code_and_details(stub, predict_request("toy", {"image_bytes": both}))[0] == "INVALID_ARGUMENT"


def test_bad_bodies_are_answered_with_400(server):
    answers = {name: post(server, body) for name, body in malformed.rest_bodies()}
    assert len(answers) > 80
    assert {name: answer for name, answer in answers.items() if answer[0] != 400 or not answer[1]["error"]} == {}


def tensors() -> Iterator[tuple[str, str, TensorProto]]:
    """Tensors that lie: (name, input, tensor)."""
    pixels, text = np.zeros((1, 2, 2, 3), np.uint8), b"x"

    def proto(shape: list[int], **fields) -> TensorProto:
        tensor = TensorProto(**{"dtype": tf.uint8.as_datatype_enum, **fields})
        for size in shape:
            tensor.tensor_shape.dim.add().size = size
        return tensor

    string = tf.string.as_datatype_enum
    for shape in ([1, 2, 2, 4], [2, 2, 3], [12], [1, 2, 2, 3, 1], []):
        yield f"shape {shape}", "images", tf.make_tensor_proto(0, tf.uint8, shape)
    for dtype in (np.float32, np.int32, np.int8, bool, np.complex64):
        yield f"dtype {dtype}", "images", tf.make_tensor_proto(pixels.astype(dtype))
    for number in (0, 999, -1, 120, string):
        yield f"dtype number {number}", "images", proto([1, 1, 1, 3], dtype=number, tensor_content=bytes(3))
    yield "one number for 10⁹", "images", proto([1, 100_000, 10_000, 3], int_val=[1])
    yield "one number for 10³⁰", "images", proto([10**10, 10**10, 10**10, 3], int_val=[1])
    yield "no pixels in 10³⁰ rows", "images", proto([0, 10**15, 10**15, 3])
    yield "negative size", "images", proto([1, -2, -2, 3], tensor_content=bytes(12))
    yield "no values", "images", proto([1, 2, 2, 3])
    yield "content too short", "images", proto([1, 2, 2, 3], tensor_content=bytes(11))
    yield "content too long", "images", proto([1, 2, 2, 3], tensor_content=bytes(13))
    yield "too many values", "images", proto([1, 2, 2, 3], int_val=range(13))
    yield "values above 255", "images", proto([1, 1, 1, 3], int_val=[1, 300, 3])
    yield "values in another field", "images", proto([1, 1, 1, 3], float_val=[1, 2, 3])
    unknown = proto([], tensor_content=bytes(3))
    unknown.tensor_shape.unknown_rank = True
    yield "unknown rank", "images", unknown
    yield "2×2 strings", "image_bytes", tf.make_tensor_proto([[text, text], [text, text]])
    yield "one string, no list", "image_bytes", tf.make_tensor_proto(text)
    yield "one string for 10⁹", "image_bytes", proto([10**9], dtype=string, string_val=[text])
    yield "one string for 1000", "image_bytes", proto([1000], dtype=string, string_val=[text * 10**6])
    yield "strings as content", "image_bytes", proto([1], dtype=string, tensor_content=text)
    yield "numbers for strings", "image_bytes", tf.make_tensor_proto([1, 2])


def test_lying_tensors_are_refused(stub):
    signatures = {"images": "predict_tensor", "image_bytes": "serving_default"}
    answers = {
        name: code_and_details(stub, predict_request("toy", {key: tensor}, signatures[key]))
        for name, key, tensor in tensors()
    }
    assert {name: answer for name, answer in answers.items() if answer[0] != "INVALID_ARGUMENT" or not answer[1]} == {}


def test_wrong_names_and_bytes_over_grpc(server, stub):
    image = tf.make_tensor_proto([malformed.good_image()])
    right = predict_request("toy", {"image_bytes": image})
    filtered = PredictRequest(output_filter=["nothing"])
    filtered.MergeFrom(right)
    other_version = PredictRequest()
    other_version.CopyFrom(right)
    other_version.model_spec.version.value = 7
    cases = {
        "NOT_FOUND": [predict_request("other", {"image_bytes": image}), other_version, PredictRequest()],
        "FAILED_PRECONDITION": [
            predict_request("toy", {}, "nothing"),
            predict_request("toy", {}, "__saved_model_init_op"),
        ],
        "INVALID_ARGUMENT": [
            predict_request("toy", {}),
            predict_request("toy", {"image": image}),
            predict_request("toy", {"image_bytes": image, "more": image}),
            filtered,
        ],
    }
    for code, requests in cases.items():
        assert [code_and_details(stub, request)[0] for request in requests] == [code] * len(requests)
    with grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        random = np.random.default_rng(0)
        for size in range(1, 40):
            with pytest.raises(grpc.RpcError) as raised:
                call(random.bytes(size))
            assert raised.value.code().name in ("INVALID_ARGUMENT", "NOT_FOUND")


def test_bytes_that_are_no_http(server):
    host, port = server.rest_address.removeprefix("http://").split(":")
    post_head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\n"
    for raw in (
        b"garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        post_head + b"Content-Length: -4\r\n\r\n",
        post_head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        post_head + b"Content-Length: 100\r\n\r\nonly this",
    ):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda open_=connection: open_.recv(4096), b""))
            assert not answer.startswith(b"HTTP/1.1 200")


def test_packed_bodies_are_refused_before_they_are_unpacked(server):
    assert post(server, b"\x1f\x8b", **{"Content-Encoding": "gzip"})[0] == 415
