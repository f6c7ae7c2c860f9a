"""One version of a model in memory."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from acfnet_tf.export.saved_model import WARMUP_FILE
from acfnet_tf.serving.server.arrays import check_shape, from_proto, to_proto
from acfnet_tf.serving.server.errors import RequestError, Status, bad_request, from_tensorflow

_NOT_FOR_CLIENTS = "__saved_model_init_op"

# TensorFlow calls its loader deprecated at the first use: it is the one that TF Serving uses.
logging.getLogger("tensorflow").addFilter(lambda record: "loader_impl" not in record.getMessage())


class LoadedModel:
    """A SavedModel, loaded and run as TF Serving does it: the graph of the tag `serve` in a session of its own.

    Its memory is free again when the last reference to it is gone; requests hold one as long as they run.

    Args:
        folder: …/NAME/VERSION.

    Attributes:
        version: the number that the folder is named by.
        signatures: every signature by name.

    Raises:
        Exception: of many kinds, for a folder that holds no whole SavedModel.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.version = name, int(folder.name)
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(folder))
        graph.finalize()
        self.signatures: dict[str, SignatureDef] = dict(loaded.signature_def)

    def signature(self, name: str) -> SignatureDef:
        """The signature of that name; "" is the default one.

        Raises:
            RequestError: there is none.
        """
        name = name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if name not in self.signatures or name == _NOT_FOR_CLIENTS:
            known = ", ".join(sorted(set(self.signatures) - {_NOT_FOR_CLIENTS}))
            message = f'Serving signature key "{name}" not found. There are: {known}'
            raise RequestError(Status.FAILED_PRECONDITION, message)
        return self.signatures[name]

    def run(
        self, signature: SignatureDef, inputs: Mapping[str, np.ndarray], wanted: Collection[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs the graph.

        Args:
            inputs: an array of the signature's type for each input.
            wanted: names of outputs; none means all.

        Raises:
            RequestError: a shape or an output that the signature does not have, or the model refuses the values.
        """
        for name, array in inputs.items():
            check_shape(name, array, signature.inputs[name])
        if strange := sorted(set(wanted) - set(signature.outputs)):
            known = ", ".join(sorted(signature.outputs))
            raise bad_request(f"output tensor alias not found in signature: {', '.join(strange)}. There are: {known}")
        fetches = {name: signature.outputs[name].name for name in sorted(set(wanted) or signature.outputs)}
        try:
            return self._session.run(fetches, {signature.inputs[name].name: array for name, array in inputs.items()})
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error

    def predict(self, request: PredictRequest, max_bytes: int) -> PredictResponse:
        """What gRPC's Predict does.

        Args:
            max_bytes: what one input may take in memory.

        Raises:
            RequestError: the request does not fit the signature, or the model refuses it.
        """
        signature_name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        signature = self.signature(signature_name)
        check_names(request.inputs, signature)
        inputs = {
            name: from_proto(name, proto, signature.inputs[name], max_bytes) for name, proto in request.inputs.items()
        }
        outputs = self.run(signature, inputs, request.output_filter)
        response = PredictResponse()
        response.model_spec.name, response.model_spec.signature_name = self.name, signature_name
        response.model_spec.version.value = self.version
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(to_proto(array, signature.outputs[name]))
        return response

    def warm_up(self, folder: Path, max_bytes: int) -> None:
        """Answers the requests that were exported with the model, so that a client's first is as fast as the next.

        Raises:
            RequestError: the model fails on one; it must not serve then.
        """
        if (folder / WARMUP_FILE).exists():
            for record in tf.data.TFRecordDataset(str(folder / WARMUP_FILE)).as_numpy_iterator():
                self.predict(PredictionLog.FromString(record).predict_log.request, max_bytes)


def check_names(sent: Collection[str], signature: SignatureDef) -> None:
    """Raises RequestError where inputs are missing, or sent and not known."""
    extra, missing = sorted(set(sent) - set(signature.inputs)), sorted(set(signature.inputs) - set(sent))
    if extra or missing:
        raise bad_request(
            "input size does not match signature."
            f" Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
        )
