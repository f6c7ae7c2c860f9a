"""Tensors of a request and of a response: TensorProto and JSON to NumPy and back.

Clients may say anything. No size is believed before what was sent has been counted, and no value is cast silently.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from acfnet_tf.serving.server.errors import RequestError, Status, bad_request

_TYPE_NAMES = {number: name for name, number in DataType.items()}
_FIELDS = {
    **{tf.float32: "float_val", tf.float64: "double_val", tf.bool: "bool_val", tf.string: "string_val"},
    **{tf.int64: "int64_val", tf.uint32: "uint32_val", tf.uint64: "uint64_val"},
    **dict.fromkeys((tf.int8, tf.int16, tf.int32, tf.uint8), "int_val"),
}
"""The types that JSON can hold, and where TF Serving puts their values in a TensorProto: not in `tensor_content`."""

_LEAVES = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}, "O": {str, dict}}
"""What JSON may hold for each kind of NumPy's types."""

_LEAF_NAMES = {bool: "true or false", int: "a number", float: "a number", str: "text", dict: "an object"}


def check_shape(name: str, array: np.ndarray, info: TensorInfo) -> None:
    """Raises RequestError where an input does not have the shape that the signature asks for."""
    sizes = [dim.size for dim in info.tensor_shape.dim]
    fits = len(sizes) == array.ndim and all(a in (-1, b) for a, b in zip(sizes, array.shape, strict=True))
    if not fits and not info.tensor_shape.unknown_rank:
        expected = ", ".join("any" if size == -1 else str(size) for size in sizes)
        raise bad_request(f"input {name!r} has shape {list(array.shape)}; the signature asks for [{expected}]")


def from_proto(name: str, proto: TensorProto, info: TensorInfo, max_bytes: int) -> np.ndarray:
    """A tensor of a gRPC request.

    Args:
        proto: what was sent; one number may stand for a whole tensor, as in TensorFlow.
        max_bytes: what the array may take.

    Raises:
        RequestError: another type than the signature's, or a shape that does not fit the content.
    """
    dtype, shape = tf.as_dtype(info.dtype), [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype != info.dtype:
        sent, asked = (_TYPE_NAMES.get(number, number) for number in (proto.dtype, info.dtype))
        raise bad_request(f"input {name!r} is {sent}; the signature asks for {asked}")
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise bad_request(f"input {name!r}: its shape is not known")
    if math.prod(max(size, 1) for size in shape) * dtype.size > max_bytes:
        raise bad_request(f"input {name!r}: a tensor of shape {shape} is too large")
    count, given = math.prod(shape), len(getattr(proto, _FIELDS[dtype])) if dtype in _FIELDS else 0
    if not proto.tensor_content and given not in ((count,) if dtype == tf.string else (1, count)):
        raise bad_request(f"input {name!r}: {given} values for shape {shape}")
    try:
        return _objects(proto.string_val, shape) if dtype == tf.string else tf.make_ndarray(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise bad_request(f"input {name!r}: its values are no {dtype.name} of shape {shape} ({error})") from error


def to_proto(array: np.ndarray, info: TensorInfo) -> TensorProto:
    """A tensor of a gRPC response, as TF Serving fills it in."""
    field = _FIELDS.get(tf.as_dtype(info.dtype))
    if field is None:
        return tf.make_tensor_proto(array)
    proto = TensorProto(dtype=info.dtype)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    getattr(proto, field).extend(array.ravel().tolist())
    return proto


def from_json(name: str, value: Any, info: TensorInfo) -> np.ndarray:
    """A tensor of a REST request: nested lists of numbers, of text, or of {"b64": "…"}.

    Raises:
        RequestError: a value of another type than the signature's, lists of different lengths, or wrong base64.
    """
    dtype = _json_type(name, info)
    kind = np.dtype(dtype.as_numpy_dtype).kind
    # Of objects first: by itself NumPy gives every text the room of the longest, and turns numbers into text.
    leaves = np.array(value, object)
    wrong = {type(leaf) for leaf in leaves.ravel()} - _LEAVES[kind]
    if list in wrong:
        raise bad_request(f"input {name!r}: lists of different lengths, or too many in each other, are no tensor")
    if wrong:
        found = ", ".join(sorted(_LEAF_NAMES.get(leaf, "null") for leaf in wrong))
        raise bad_request(f"input {name!r}: {found} where the signature asks for {dtype.name}")
    if kind in "iu" and leaves.size and not dtype.min <= leaves.min() <= leaves.max() <= dtype.max:
        raise bad_request(f"input {name!r}: values outside {dtype.min}…{dtype.max}, the range of {dtype.name}")
    try:
        if kind == "O":
            return _objects([_to_bytes(leaf) for leaf in leaves.ravel()], leaves.shape)
        return leaves.astype(dtype.as_numpy_dtype)
    except (ValueError, OverflowError) as error:
        raise bad_request(f"input {name!r}: {error}") from error


def to_json(name: str, array: np.ndarray, info: TensorInfo) -> Any:
    """A tensor of a REST response as lists; strings of names in …_bytes become base64, as in TF Serving."""
    if _json_type(name, info) != tf.string:
        return array.tolist()
    shown = _to_b64 if name.endswith("_bytes") else _to_text
    return _objects([shown(content) for content in array.flat], array.shape).tolist()


def is_b64(value: Any) -> bool:
    """Whether a JSON value is {"b64": "…"}, one string; else an object holds tensors by name."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _json_type(name: str, info: TensorInfo) -> tf.DType:
    dtype = tf.as_dtype(info.dtype)
    if dtype not in _FIELDS:
        raise RequestError(Status.UNIMPLEMENTED, f"{name!r} is {dtype.name}, which JSON cannot hold")
    return dtype


def _objects(items: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
    """An array of Python objects. Raises ValueError where their number does not make the shape."""
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def _to_bytes(leaf: str | dict[str, Any]) -> bytes:
    """Raises ValueError (of which UnicodeError and binascii.Error are kinds) where it is neither text nor base64."""
    if isinstance(leaf, str):
        return leaf.encode()
    if not is_b64(leaf):
        raise ValueError('binary strings are objects {"b64": "…"} of base64 text')
    text = "".join(leaf["b64"].split())
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _to_b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def _to_text(content: bytes) -> str:
    return content.decode(errors="replace")
