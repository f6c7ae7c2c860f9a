"""TF Serving's gRPC API: PredictionService.Predict and GetModelMetadata, ModelService.GetModelStatus.

Messages come and go as bytes, so that a large one is parsed where the computing is done, not in the event loop. To gRPC
the requests are streams of one message, which clients cannot tell from a message: a stream's is not read, and takes no
memory, before it is asked for, and its size is not known before it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import get_model_metadata_pb2 as metadata
from tensorflow_serving.apis import get_model_status_pb2 as model_status
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from acfnet_tf.serving.server.core import BODY_SECONDS, Core
from acfnet_tf.serving.server.errors import RequestError, Status, bad_request

Method = Callable[[bytes], Awaitable[bytes]]


class GrpcService:
    """The methods, and how they are made known to a server.

    Args:
        core: the model and its limits.
        max_reading: how many requests may be on their way into memory at a time; further ones wait on the wire.
    """

    def __init__(self, core: Core, max_reading: int) -> None:
        self._core = core
        self._reading = asyncio.Semaphore(max_reading)

    def add_to(self, server: grpc.aio.Server) -> None:
        at_once = contextlib.nullcontext()
        services = {
            "PredictionService": {
                "Predict": _answering(self._predict, self._reading),
                "GetModelMetadata": _answering(self._metadata, at_once),
            },
            "ModelService": {"GetModelStatus": _answering(self._status, at_once)},
        }
        for service, methods in services.items():
            handlers = {name: grpc.stream_unary_rpc_method_handler(answer) for name, answer in methods.items()}
            name = f"tensorflow.serving.{service}"
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])

    async def _predict(self, content: bytes) -> bytes:
        with self._core.room() as take:
            take(len(content))
            return await self._core.compute(self._predict_now, content)

    def _predict_now(self, content: bytes) -> bytes:
        request = _parse(content, PredictRequest())
        model = self._core.versions.find(*_model_and_version(request.model_spec))
        return model.predict(request, self._core.max_request).SerializeToString()

    async def _metadata(self, content: bytes) -> bytes:
        request = _parse(content, metadata.GetModelMetadataRequest())
        if list(request.metadata_field) != ["signature_def"]:
            raise bad_request("metadata_field must be signature_def")
        model = self._core.versions.find(*_model_and_version(request.model_spec))
        signatures = metadata.SignatureDefMap()
        for name, signature in model.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = metadata.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = model.name, model.version
        response.metadata["signature_def"].Pack(signatures)
        return response.SerializeToString()

    async def _status(self, content: bytes) -> bytes:
        request = _parse(content, model_status.GetModelStatusRequest())
        response = model_status.GetModelStatusResponse()
        for version, state in self._core.versions.status(*_model_and_version(request.model_spec)).items():
            shown = response.model_version_status.add(
                version=version, state=model_status.ModelVersionStatus.State.Value(state.name)
            )
            shown.status.error_code = (Status.UNKNOWN if state.problem else Status.OK).value[0]
            shown.status.error_message = state.problem
        return response.SerializeToString()


def _answering(method: Method, gate: contextlib.AbstractAsyncContextManager) -> Callable[..., Awaitable[bytes]]:
    """The method as a handler: reads its message inside of `gate`, and gives errors as gRPC statuses."""

    async def answer(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        try:
            async with gate:
                content = await asyncio.wait_for(context.read(), BODY_SECONDS)
            if content is grpc.aio.EOF:
                raise bad_request("there is no message")
            return await method(content)
        except RequestError as error:
            status, message = error.status, str(error)
        except asyncio.TimeoutError:
            status, message = Status.DEADLINE_EXCEEDED, f"the message did not arrive within {BODY_SECONDS:g} seconds"
        except Exception as error:  # no request ends the server
            traceback.print_exc()
            status, message = Status.INTERNAL, f"{type(error).__name__}: {error}"
        await context.abort(status, message)

    return answer


def _parse(content: bytes, message: Message) -> Message:
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise bad_request(f"this is no {message.DESCRIPTOR.name} ({error})") from error
    return message


def _model_and_version(specification: ModelSpec) -> tuple[str, int | None]:
    if specification.version_label:
        raise bad_request(f"Unrecognized servable version label: {specification.version_label}")
    return specification.name, specification.version.value if specification.HasField("version") else None
