"""The two protocols of model servers: JSON over HTTP (REST) and gRPC. Both send encoded images and get PNGs back.

Either repeats a request, after growing random pauses, when the server cannot be reached or says that it is too busy.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import tensorflow as tf

from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.export.signatures import FILES, IMAGE_BYTES, LABEL_PNG

_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


_REFUSED = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
_ADVICE = {
    "DEADLINE_EXCEEDED": "Give it more time (timeout), or send fewer or smaller images at once.",
    "NOT_FOUND": "Give the name, and the version if any, under which it is served (model, version).",
    "UNAVAILABLE": "Is the server up, and is this the right port? REST is http://HOST:8501, gRPC is HOST:8500.",
}


class ServingError(UserError):
    """The server is not there, or does not answer as it should."""


class RefusedError(ServingError):
    """The server is well, but does not accept this image: damaged, too large, …"""


def _failure(address: str, code: str, message: str) -> ServingError:
    """What went wrong, in gRPC's words whatever the protocol."""
    kind = RefusedError if code in _REFUSED else ServingError
    words = " ".join(message.split()).rstrip(".")[:500]
    return kind(f"{address}: {code}: {words}. {_ADVICE.get(code, '')}".rstrip())


class RestChannel:
    """JSON over HTTP. The arguments are those of `Client`; threads may share a channel."""

    def __init__(
        self, scheme: str, host: str, model: str, version: int | str | None, timeout: float, retries: int
    ) -> None:
        import urllib3  # TensorFlow's own requirements bring it

        self._address, self._errors = f"{scheme}://{host}", urllib3.exceptions
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
        """Encoded images → PNG of the labels of each. Raises ServingError, or its kind RefusedError."""
        body = {"inputs": {IMAGE_BYTES: [{"b64": base64.b64encode(image).decode()} for image in images]}}
        try:
            response = self._pool.request("POST", self._url, json=body)
        except self._errors.ReadTimeoutError as error:
            raise _failure(self._address, "DEADLINE_EXCEEDED", "no answer in time") from error
        except self._errors.HTTPError as error:
            raise _failure(self._address, "UNAVAILABLE", f"{getattr(error, 'reason', None) or error}") from error
        try:
            answer = json.loads(response.data)
            if response.status == 200:
                return [base64.b64decode(each["b64"]) for each in answer["outputs"][LABEL_PNG]]
            message = answer["error"]
        except (ValueError, KeyError, TypeError):
            message = f"HTTP status {response.status}, and no answer of a model server with this signature"
        raise _failure(self._address, _CODES.get(response.status, "UNKNOWN"), message)

    def close(self) -> None:
        self._pool.clear()


class GrpcChannel:
    """gRPC, with the same methods."""

    def __init__(
        self, scheme: str, host: str, model: str, version: int | str | None, timeout: float, retries: int
    ) -> None:
        with needs_extra("serving", "gRPC, unlike REST,"):
            import grpc
            from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc
        self._address, self._error, self._timeout = f"{scheme}://{host}", grpc.RpcError, timeout
        self._request = predict_pb2.PredictRequest
        self._model = model_pb2.ModelSpec(name=model, signature_name=FILES)
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
        inputs = {IMAGE_BYTES: tf.make_tensor_proto(images, tf.string)}
        request = self._request(model_spec=self._model, inputs=inputs, output_filter=[LABEL_PNG])
        try:
            return list(self._stub.Predict(request, timeout=self._timeout).outputs[LABEL_PNG].string_val)
        except self._error as error:
            raise _failure(self._address, error.code().name, error.details() or "no details") from error

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
