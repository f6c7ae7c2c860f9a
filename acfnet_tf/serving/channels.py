"""The two protocols of model servers: JSON over HTTP (REST) and gRPC. Both send encoded images and get PNGs back.

Either repeats a request, after growing random pauses, when the server cannot be reached or says that it is too busy.
"""

from __future__ import annotations

import base64
import json
from typing import Protocol
from urllib.parse import quote

import tensorflow as tf

from acfnet_tf.errors import UserError

_OUTPUT = "label_png_bytes"
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Failure(Exception):
    """What went wrong, in gRPC's words whatever the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, " ".join(message.split()).rstrip(".")[:500]


class Channel(Protocol):
    """A connection to one model; threads may share it."""

    def predict(self, images: list[bytes]) -> list[bytes]:
        """Encoded images → PNG of the labels of each. Raises `Failure`."""

    def close(self) -> None: ...


class RestChannel:
    """JSON over HTTP. Arguments as in `Client`."""

    def __init__(
        self, scheme: str, host: str, model: str, version: int | str | None, timeout: float, retries: int
    ) -> None:
        import urllib3  # TensorFlow's own requirements bring it

        self._errors = urllib3.exceptions
        kind = "versions" if isinstance(version, int) else "labels"
        which = "" if version is None else f"/{kind}/{quote(str(version), safe='')}"
        self._url = f"{scheme}://{host.rstrip('/')}/v1/models/{quote(model, safe='')}{which}:predict"
        retry = urllib3.Retry(
            retries,
            read=False,  # the server may be at work on it
            status_forcelist=(503,),
            allowed_methods=None,  # POST too: labelling an image twice does no harm
            backoff_factor=0.2,
            backoff_jitter=0.2,
            raise_on_status=False,
        )
        seconds = urllib3.Timeout(connect=min(timeout, 5), read=timeout)
        # Further threads wait for a connection.
        self._pool = urllib3.PoolManager(maxsize=32, block=True, timeout=seconds, retries=retry)

    def predict(self, images: list[bytes]) -> list[bytes]:
        body = {"inputs": {"image_bytes": [{"b64": base64.b64encode(image).decode()} for image in images]}}
        try:
            response = self._pool.request("POST", self._url, json=body)
        except self._errors.ReadTimeoutError as error:
            raise Failure("DEADLINE_EXCEEDED", "no answer in time") from error
        except self._errors.HTTPError as error:
            raise Failure("UNAVAILABLE", f"{getattr(error, 'reason', None) or error}") from error
        try:
            answer = json.loads(response.data)
            if response.status == 200:
                return [base64.b64decode(each["b64"]) for each in answer["outputs"][_OUTPUT]]
            message = answer["error"]
        except (ValueError, KeyError, TypeError):
            message = f"HTTP status {response.status}, and no answer of a model server with this signature"
        raise Failure(_CODES.get(response.status, "UNKNOWN"), message)

    def close(self) -> None:
        self._pool.clear()


class GrpcChannel:
    """gRPC. Arguments as in `Client`."""

    def __init__(
        self, scheme: str, host: str, model: str, version: int | str | None, timeout: float, retries: int
    ) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise UserError('gRPC needs more packages: pip install -e ".[serving]". REST does not.') from error
        self._error, self._timeout = grpc.RpcError, timeout
        self._request = predict_pb2.PredictRequest
        self._model = model_pb2.ModelSpec(name=model, signature_name="serving_default")
        if isinstance(version, int):
            self._model.version.value = version
        elif version is not None:
            self._model.version_label = version
        options = _grpc_options(retries)
        if scheme == "grpcs":
            self._channel = grpc.secure_channel(host, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(host, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(self, images: list[bytes]) -> list[bytes]:
        inputs = {"image_bytes": tf.make_tensor_proto(images, tf.string)}
        request = self._request(model_spec=self._model, inputs=inputs, output_filter=[_OUTPUT])
        try:
            return list(self._stub.Predict(request, timeout=self._timeout).outputs[_OUTPUT].string_val)
        except self._error as error:
            raise Failure(error.code().name, error.details() or "no details") from error

    def close(self) -> None:
        self._channel.close()


def _grpc_options(retries: int) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", -1),  # 4 MiB by default, too little for images
        ("grpc.max_receive_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 200),  # 1 s by default: retries would all meet the same refusal
    ]
    if retries:
        policy = {
            "maxAttempts": retries + 1,
            "initialBackoff": "0.4s",
            "maxBackoff": "5s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        service = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
        options += [
            ("grpc.service_config", json.dumps(service)),
            ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),  # 256 KiB by default: larger requests were not repeated
        ]
    return options
