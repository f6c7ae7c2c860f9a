"""Weights in PyTorch's files (`.pth`, `.pt`, `.bin`, `.tar`) and in `.safetensors`, read without PyTorch."""

from __future__ import annotations

import io
import mmap
import struct
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.pretrained.torch_pickle import ADVICE, Storage, Tensor, TorchUnpickler

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_WRAPPERS = ("module.", "model.", "backbone.", "encoder.")
_IMPOSTORS = {
    b"version https://git-lfs": "is a Git LFS pointer: fetch the file itself with git lfs pull",
    b"<": "is a web page: download the file itself",
    b"\x89HDF": "is an HDF5 file: its name must end in .h5",
}


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """The state dict in a file of PyTorch, of today's form or that before 1.6, or in one of safetensors.

    The content tells the form; the file's name does not matter. Nothing in the file is executed, and of a checkpoint
    nothing is read but the state dict: the mapping with the most tensors. Prefixes of wrappers (`module.`, `model.`,
    `backbone.`, `encoder.`) are taken off.

    Args:
        path: of the file, which must stay as it is while the arrays are in use.

    Returns:
        {name: array}, in PyTorch's layout and of the file's dtypes, but float32 for bfloat16. The arrays are for
        reading only: they may share memory.

    Raises:
        UserError: there is no such file, it is damaged, or holds something else or more than weights.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
        return _unwrapped(_reader(head)(path))
    except UserError as error:
        raise UserError(f"{path} {error}") from error.__cause__
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"cannot read the weights {path}: not enough memory") from error
    except Exception as error:  # Damaged bytes make pickle, zipfile and NumPy raise whatever there is.
        detail = textwrap.shorten(ascii(str(error))[1:-1], 100) or type(error).__name__
        raise UserError(f"{path} is cut off, damaged or of an unknown kind ({detail}): download it again") from error


def _reader(head: bytes) -> Callable[[Path], dict[str, np.ndarray]]:
    """What reads a file that begins in this way."""
    if head[8:9] == b"{":  # It stands behind a length, which may be of any bytes.
        return _read_safetensors
    if head.startswith(b"PK"):
        return _read_zip
    if head.startswith(b"\x80"):
        return _read_legacy
    if not head:
        raise UserError("is empty: download it again")
    for start, what_to_do in _IMPOSTORS.items():
        if head.lstrip().startswith(start):
            raise UserError(what_to_do)
    raise UserError("is no file of weights, neither of PyTorch nor of safetensors")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with needs_extra("pretrained", "is of safetensors, which"):
        from safetensors.numpy import load_file
    return {name: _without_bfloat16(array) for name, array in load_file(path).items()}


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    """Reads the form since PyTorch 1.6: FOLDER/data.pkl, and every storage as FOLDER/data/KEY."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        folder = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if folder is None:
            raise UserError("is a zip file, but not of PyTorch")
        sizes = [entry.file_size for entry in archive.infolist() if entry.filename.startswith(f"{folder}data")]
        if sum(sizes) > path.stat().st_size:  # PyTorch never compresses these.
            raise zipfile.BadZipFile("its parts are larger than the whole")
        tensors = _state_dict(TorchUnpickler(io.BytesIO(archive.read(f"{folder}data.pkl"))).load())
        order_file = f"{folder}byteorder"
        byte_order = archive.read(order_file).decode() if order_file in names else "little"
        return _arrays(tensors, lambda storage: archive.read(f"{folder}data/{storage.key}"), byte_order)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Reads the form before PyTorch 1.6: five pickles, then every storage as its size and its values."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # It lives as long as arrays that view it.
    if TorchUnpickler(content).load() != _LEGACY_MAGIC:
        raise UserError("is a pickle, but not of PyTorch")
    for _ in ("protocol", "machine"):
        TorchUnpickler(content).load()
    unpickler = TorchUnpickler(content)
    tensors = _state_dict(unpickler.load())
    keys = TorchUnpickler(content).load()
    places, position = {}, content.tell()
    for storage in map(unpickler.storages.__getitem__, keys):
        (size,) = struct.unpack_from("<q", content, position)
        if size != storage.size:
            raise ValueError(f"{size} values instead of {storage.size}")
        start, position = position + 8, position + 8 + size * storage.dtype.itemsize
        places[storage.key] = memoryview(content)[start:position]
    return _arrays(tensors, lambda storage: places[storage.key], "little")


def _state_dict(saved: Any) -> dict[str, Tensor]:
    """The mapping with the most tensors in what was saved: a state dict, or a checkpoint around it."""

    def mappings(value: Any, depth: int) -> Iterator[dict[str, Tensor]]:
        if isinstance(value, Mapping):
            yield {name: one for name, one in value.items() if isinstance(name, str) and isinstance(one, Tensor)}
            if depth:
                for inner in value.values():
                    yield from mappings(inner, depth - 1)

    tensors = max(mappings(saved, depth=2), key=len, default={})
    if not tensors:
        raise UserError(f"holds no state dict: {ADVICE}")
    return tensors


def _arrays(
    tensors: Mapping[str, Tensor], bytes_of: Callable[[Storage], Any], byte_order: str
) -> dict[str, np.ndarray]:
    """{name: array}, views of storages, each of which is read once."""
    storages, arrays = {}, {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if storage.key not in storages:
            values = np.frombuffer(bytes_of(storage), storage.dtype)
            if len(values) != storage.size:
                raise ValueError(f"{len(values)} values instead of {storage.size} for {name}")
            storages[storage.key] = _without_bfloat16(values if byte_order == sys.byteorder else values.byteswap())
        values = storages[storage.key]
        steps = [stride * values.itemsize for stride in strides]
        arrays[name] = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
    return arrays


def _without_bfloat16(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _unwrapped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes off the prefixes of wrappers; what stands beside the wrapped network, such as heads, keeps its names."""
    while prefix := next((prefix for prefix in _WRAPPERS if any(name.startswith(prefix) for name in arrays)), None):
        shorter = {name.removeprefix(prefix): array for name, array in arrays.items()}
        if len(shorter) < len(arrays):  # A model and its average may be saved together.
            break
        arrays = shorter
    return arrays
