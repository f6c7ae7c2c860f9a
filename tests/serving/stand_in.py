"""A server that answers as a test tells it to, over gRPC and REST."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

HTTP = {"UNAVAILABLE": 503, "INVALID_ARGUMENT": 400, "INTERNAL": 500}


class StandIn(PredictionServiceServicer):
    """Answers every request with the same image.

    Args:
        png: what it answers with.
        failures: gRPC codes that the first requests meet; each is used up once.

    Attributes:
        requests: how many there were, refused ones included.
        release: while it is not set, no request is answered.
    """

    def __init__(self, png: bytes, failures: list[str]) -> None:
        self.png, self.failures = png, failures
        self.requests = 0
        self.release = threading.Event()
        self.release.set()

    def next_failure(self) -> str | None:
        self.requests += 1
        self.release.wait()
        return self.failures.pop(0) if self.failures else None

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        if failure := self.next_failure():
            context.abort(grpc.StatusCode[failure], "told to fail")
        return PredictResponse(outputs={"label_png_bytes": tf.make_tensor_proto([self.png], tf.string)})

    @contextlib.contextmanager
    def listening(self, protocol: str, port: int = 0) -> Iterator[str]:
        """Runs the server of a protocol, on a free port if none is given; gives its address."""
        if protocol == "grpc":
            server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
            add_PredictionServiceServicer_to_server(self, server)
            port = server.add_insecure_port(f"127.0.0.1:{port}")
            server.start()
            yield f"127.0.0.1:{port}"
            server.stop(0).wait()
            return
        with http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(self)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


def _handler(stand_in: StandIn) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            failure = stand_in.next_failure()
            answer = {"outputs": {"label_png_bytes": [{"b64": base64.b64encode(stand_in.png).decode()}]}}
            self.send_response(HTTP[failure] if failure else 200)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # the client has given up
                self.wfile.write(json.dumps({"error": "told to fail"} if failure else answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    return Handler
