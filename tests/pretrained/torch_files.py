"""PyTorch's files, written without PyTorch, opcode by opcode: its own classes are not there to be pickled."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.torch_file import read_torch_file

ARRAYS = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "bn.steps": np.array(7)}
_TYPES = {"float32": "FloatStorage", "int64": "LongStorage"}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(values: tuple[int, ...]) -> bytes:
    """A tuple of them."""
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(key: str, array: np.ndarray) -> bytes:
    """That it is a contiguous view of all of storage `key`."""
    strides = tuple(stride // array.itemsize for stride in array.strides)
    storage = b"(" + text("storage") + f"ctorch\n{_TYPES[array.dtype.name]}\n".encode() + text(key) + text("cpu")
    storage += b"J" + struct.pack("<i", array.size) + b"tQ"
    arguments = b"(" + storage + b"K\x00" + numbers(array.shape) + numbers(strides) + b"\x89}t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The mapping, whose i-th array has storage "i"."""
    items = b"".join(text(name) + tensor(str(i), array) for i, (name, array) in enumerate(arrays.items()))
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def write_zip(path: Path, arrays: Mapping[str, np.ndarray], pickle: bytes | None = None, big: bool = False) -> Path:
    """The form since PyTorch 1.6; `pickle`, if given, stands in for that of the arrays."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(arrays) if pickle is None else pickle)
        archive.writestr("archive/byteorder", "big" if big else "little")
        for i, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{i}", array.astype(array.dtype.newbyteorder(">" if big else "<")).tobytes())
    return path


def write_legacy(path: Path, arrays: Mapping[str, np.ndarray], pickle: bytes | None = None) -> Path:
    """The form before PyTorch 1.6."""
    with path.open("wb") as file:
        file.write(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + b"\x80\x02}.")
        file.write(pickled(arrays) if pickle is None else pickle)
        file.write(b"\x80\x02](" + b"".join(text(str(i)) for i in range(len(arrays))) + b"e.")
        for array in arrays.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path


def write_safetensors(path: Path, arrays: dict[str, np.ndarray] = ARRAYS, header_size: int = 256) -> Path:
    """By hand, for the size of the header to be ours."""
    codes = {"float32": "F32", "int64": "I64", "uint16": "BF16"}
    header, offset = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": codes[array.dtype.name], "shape": array.shape}
        header[name]["data_offsets"] = [offset, offset := offset + array.nbytes]
    content = b"".join(array.tobytes() for array in arrays.values())
    path.write_bytes(struct.pack("<Q", header_size) + json.dumps(header).ljust(header_size).encode() + content)
    return path


WRITERS = {"zip": write_zip, "legacy": write_legacy, "safetensors": write_safetensors}


def refusal(path: Path) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(UserError) as refused:
        read_torch_file(path)
    message = str(refused.value)
    assert str(path) in message and "\n" not in message and len(message) < len(str(path)) + 200
    return message


def assert_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype and actual[name].shape == array.shape
        np.testing.assert_array_equal(actual[name], array)
