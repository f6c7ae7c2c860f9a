"""TF Serving's REST API, https://www.tensorflow.org/tfx/serving/api_rest."""

from __future__ import annotations

import asyncio
import json
import re
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from acfnet_tf.serving.server.arrays import from_json, is_b64, to_json
from acfnet_tf.serving.server.core import BODY_SECONDS, Core
from acfnet_tf.serving.server.errors import RequestError, Status, bad_request
from acfnet_tf.serving.server.model import LoadedModel, check_names
from acfnet_tf.serving.server.versions import State

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
_PATHS = {
    "GET": re.compile(rf"{_MODEL}(?P<metadata>/metadata)?", re.IGNORECASE),
    "POST": re.compile(rf"{_MODEL}:predict", re.IGNORECASE),
}


async def answer(core: Core, request: web.Request) -> web.Response:
    """Answers every HTTP request there may be; what goes wrong is JSON too: {"error": "…"}."""
    try:
        content, status = await _answer(core, request), 200
    except RequestError as error:
        content, status = _dump({"error": str(error)}), error.http
    except Exception as error:  # no request ends the server
        traceback.print_exc()
        content, status = _dump({"error": f"{type(error).__name__}: {error}"}), 500
    return web.Response(body=content, status=status, content_type="application/json")


async def _answer(core: Core, request: web.Request) -> bytes:
    pattern = _PATHS.get(request.method)
    match = pattern and pattern.fullmatch(request.path)
    if not match:
        status = Status.INVALID_ARGUMENT if request.path.lower().startswith("/v1/") else Status.NOT_FOUND
        raise RequestError(status, f"Malformed request: {request.method} {request.path}")
    if match["label"]:
        raise bad_request(f"Unrecognized servable version label: {match['label']}")
    name, version = match["name"], int(match["version"]) if match["version"] else None
    if request.method == "GET" and not match["metadata"]:
        states = core.versions.status(name, version)
        return _dump({"model_version_status": [_show_state(*item) for item in states.items()]})
    model = core.versions.find(name, version)
    if request.method == "GET":
        return _metadata(model)
    core.check(0, request.content_length or 0)
    with core.room() as take:
        body = await _read(request, take)
        return await core.compute(_predict, model, body)


async def _read(request: web.Request, take: Callable[[int], None]) -> bytearray:
    """The body, as far as there is room for it.

    Raises:
        RequestError: too large, no room, compressed, or the client does not get to its end.
    """
    body = bytearray()

    async def collect() -> None:
        async for chunk in request.content.iter_any():
            take(len(chunk))
            body.extend(chunk)

    if encoding := request.headers.get("Content-Encoding"):  # a megabyte may unpack to gigabytes
        raise RequestError(Status.INVALID_ARGUMENT, f"Content-Encoding {encoding} is not supported", http=415)
    try:
        await asyncio.wait_for(collect(), BODY_SECONDS)
    except asyncio.TimeoutError as error:
        message = f"the body did not arrive within {BODY_SECONDS:g} seconds"
        raise RequestError(Status.DEADLINE_EXCEEDED, message, http=408) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise bad_request(f"the body cannot be read ({error})") from error
    return body


def _predict(model: LoadedModel, body: bytearray) -> bytes:
    """From the body of a request to the body of its response."""
    request = _parse(body)
    signature_name = request.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise bad_request("'signature_name' key must be a string value")
    signature = model.signature(signature_name)
    by_rows = "instances" in request
    if by_rows == ("inputs" in request):
        raise bad_request("expecting one of the keys 'inputs' and 'instances'" + (", not both" if by_rows else ""))
    values = _from_rows(request["instances"], signature) if by_rows else _from_columns(request["inputs"], signature)
    check_names(values, signature)
    inputs = {name: from_json(name, value, signature.inputs[name]) for name, value in values.items()}
    outputs = model.run(signature, inputs)
    if by_rows:
        return _dump({"predictions": _to_rows(outputs, signature)})
    columns = {name: to_json(name, array, signature.outputs[name]) for name, array in outputs.items()}
    return _dump({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})


def _parse(body: bytearray) -> dict[str, Any]:
    try:
        request = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise bad_request(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise bad_request("JSON Value: Is not object")
    return request


def _from_rows(instances: Any, signature: SignatureDef) -> dict[str, list]:
    """`instances` as {input: list of one value an instance}."""
    if not isinstance(instances, list) or not instances:
        raise bad_request("'instances' must be a list of at least one value")
    named = [isinstance(instance, dict) and not is_b64(instance) for instance in instances]
    if not any(named):
        return {_only_input(signature): instances}
    if not all(named):
        raise bad_request("'instances' must be all objects or all values")
    names = instances[0].keys()
    if any(instance.keys() != names for instance in instances):
        raise bad_request("all 'instances' must have the same keys")
    return {name: [instance[name] for instance in instances] for name in names}


def _from_columns(inputs: Any, signature: SignatureDef) -> dict[str, Any]:
    """`inputs` as {input: value}; TF Serving overlooks further keys."""
    if not isinstance(inputs, dict) or is_b64(inputs):
        return {_only_input(signature): inputs}
    return {name: inputs[name] for name in signature.inputs if name in inputs}


def _only_input(signature: SignatureDef) -> str:
    if len(signature.inputs) != 1:
        raise bad_request(f"expecting an object of the inputs {', '.join(sorted(signature.inputs))}")
    return next(iter(signature.inputs))


def _to_rows(outputs: dict[str, np.ndarray], signature: SignatureDef) -> list:
    """One value an instance; an object of them where there are several outputs."""
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) > 1 or sizes == {()}:
        raise bad_request("the outputs have no common batch size: send 'inputs' in place of 'instances'")
    columns = {name: to_json(name, array, signature.outputs[name]) for name, array in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _show_state(version: int, state: State) -> dict[str, Any]:
    status = {"error_code": "UNKNOWN" if state.problem else "OK", "error_message": state.problem}
    return {"version": str(version), "state": state.name, "status": status}


def _metadata(model: LoadedModel) -> bytes:
    signatures = {
        name: MessageToDict(signature, preserving_proto_field_name=True) for name, signature in model.signatures.items()
    }
    specification = {"name": model.name, "signature_name": "", "version": str(model.version)}
    return _dump({"model_spec": specification, "metadata": {"signature_def": {"signature_def": signatures}}})


def _dump(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()
