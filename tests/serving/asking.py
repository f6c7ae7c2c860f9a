"""Asks the embedded server by hand, without the client."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import urllib3

from acfnet_tf.config import ServeConfig
from acfnet_tf.serving.server import Server

MIB = 2**20
HTTP = urllib3.PoolManager(maxsize=200, retries=False)
CONFIG = ServeConfig(rest_port=0, grpc_port=0, max_request_mib=2, max_waiting_mib=4)


def ask(server: Server, path: str, body: object = None) -> tuple[int, dict]:
    content = None if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    response = HTTP.request(method, server.rest_address + path, body=content)
    return response.status, response.json()


def predict(server: Server, body: object) -> tuple[int, dict]:
    return ask(server, "/v1/models/toy:predict", body)


def encoded(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def until(condition: Callable[[], bool]) -> None:
    """Waits for something to come true, as long as it takes on a busy machine."""
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("this did not come true")
