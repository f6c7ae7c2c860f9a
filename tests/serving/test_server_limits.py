"""The embedded server under load, with too large and slow requests, and how it starts and ends."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
import urllib3
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from acfnet_tf.config import ServeConfig
from acfnet_tf.errors import UserError
from acfnet_tf.serving.server import Server, rest, serve
from acfnet_tf.serving.server.model import LoadedModel
from tests.serving.asking import CONFIG, HTTP, MIB, ask, encoded, predict, until
from tests.serving.malformed import good_image
from tests.serving.models import predict_request


def test_too_large_requests_are_refused(server):
    assert predict(server, {"inputs": [{"b64": "A" * 2 * MIB}]})[0] == 413
    body = iter([b" " * MIB] * 3)
    response = HTTP.request("POST", f"{server.rest_address}/v1/models/toy:predict", body=body)
    assert response.status == 413
    large = tf.make_tensor_proto([bytes(2 * MIB)])
    with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as raised:
        PredictionServiceStub(channel).Predict(predict_request("toy", {"image_bytes": large}))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def slow_request(server: Server, size: int) -> socket.socket:
    """A request of which one byte is missing."""
    host, port = server.rest_address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    with contextlib.suppress(ConnectionError):  # it is refused already
        connection.sendall(head.encode() + b" " * (size - 1))
    return connection


def test_slow_requests_hold_up_nobody_until_there_is_no_room(server):
    body = {"inputs": [encoded(good_image())]}
    slow = [slow_request(server, 2 * MIB - 1000)]
    assert predict(server, body)[0] == 200

    def is_full() -> bool:
        slow.append(slow_request(server, 2 * MIB - 1000))
        return predict(server, body)[0] == 503

    until(is_full)
    with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as raised:
        PredictionServiceStub(channel).Predict(
            predict_request("toy", {"image_bytes": tf.make_tensor_proto(["x" * 9999])})
        )
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ask(server, "/v1/models/toy")[0] == 200, "the health check is not a matter of room"
    for connection in slow:
        connection.close()
    until(lambda: predict(server, body)[0] == 200)


def test_a_body_that_does_not_end_is_given_up(server, monkeypatch):
    monkeypatch.setattr(rest, "BODY_SECONDS", 0.2)
    with slow_request(server, 1000) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_200_requests_at_once_over_both_protocols(server):
    body, request = {"inputs": [encoded(good_image())]}, predict_request("toy", {})
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([good_image()]))
    with ThreadPoolExecutor(200) as pool, grpc.insecure_channel(server.grpc_address) as channel:
        stub = PredictionServiceStub(channel)
        answers = [pool.submit(predict, server, body) for _ in range(100)]
        responses = [pool.submit(stub.Predict, request) for _ in range(100)]
        assert {answer.result()[0] for answer in answers} == {200}
        assert {tuple(response.result().outputs["size"].int_val) for response in responses} == {(24, 32)}


def test_stopping_finishes_what_runs(model_dir, monkeypatch):
    running, go_on, run = threading.Semaphore(0), threading.Event(), LoadedModel.run

    def slow_run(*arguments) -> dict[str, np.ndarray]:
        running.release()
        go_on.wait()
        return run(*arguments)

    image = tf.make_tensor_proto([good_image()])
    server = Server(model_dir, dataclasses.replace(CONFIG, max_parallel=2))
    server.start()
    monkeypatch.setattr(LoadedModel, "run", slow_run)
    with ThreadPoolExecutor() as pool, grpc.insecure_channel(server.grpc_address) as channel:
        over_grpc = pool.submit(PredictionServiceStub(channel).Predict, predict_request("toy", {"image_bytes": image}))
        over_rest = pool.submit(predict, server, {"inputs": [encoded(good_image())]})
        running.acquire()
        running.acquire()
        threading.Timer(0.2, go_on.set).start()
        server.stop()
        assert go_on.is_set()
        assert list(over_grpc.result().outputs["size"].int_val) == [24, 32]
        assert over_rest.result()[0] == 200
    with pytest.raises(urllib3.exceptions.HTTPError):
        ask(server, "/")


def test_serve_greets_and_ends_on_a_signal(model_dir, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def stop_when_up() -> None:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGTERM)
        threading.Thread(target=stop_when_up).start()
        serve(model_dir, ServeConfig(rest_port=port, grpc_port=0))
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, previous)
    shown = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}/v1/models/toy:predict" in shown
    assert "docs/deployment.md" in shown


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_parallel": 0}, "serve.max_parallel = 0"),
        ({"max_waiting_mib": 10}, "serve.max_waiting_mib = 10: expected not less than one request"),
        ({"rest_port": 70_000}, "serve.rest_port = 70000"),
    ],
)
def test_settings_that_make_no_sense(settings, problem):
    with pytest.raises(UserError, match=problem):
        ServeConfig(**settings)


def test_what_cannot_start_says_why(server, model_dir, tmp_path):
    with pytest.raises(UserError, match="no version to serve"):
        Server(tmp_path / "nothing", CONFIG).start()
    (tmp_path / "1").mkdir()
    with pytest.raises(UserError, match="no version can be loaded"):
        Server(tmp_path, CONFIG).start()
    rest_port, grpc_port = (int(address.split(":")[-1]) for address in (server.rest_address, server.grpc_address))
    with pytest.raises(UserError, match=rf"serve.rest_port = {rest_port}: cannot listen"):
        Server(model_dir, ServeConfig(rest_port=rest_port, grpc_port=0)).start()
    with pytest.raises(UserError, match=rf"serve.grpc_port = {grpc_port}: cannot listen"):
        Server(model_dir, ServeConfig(rest_port=0, grpc_port=grpc_port)).start()


def test_a_missing_package_is_named(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("acfnet_tf.serving.server")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UserError, match=r"\[serving\]"):
        __import__("acfnet_tf.serving.server")
