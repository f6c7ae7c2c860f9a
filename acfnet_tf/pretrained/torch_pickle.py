"""The pickles in PyTorch's files, read without PyTorch and without running anything of theirs."""

from __future__ import annotations

import collections
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from acfnet_tf.errors import UserError

ADVICE = "in PyTorch, torch.save(model.state_dict(), FILE)"
_DTYPES = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
}


class Storage(NamedTuple):
    """Where values of tensors lie in the file: `size` of them, under `key`."""

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A view into a storage; offset and strides are counted in its values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchUnpickler(pickle.Unpickler):
    """Knows the few names that state dicts are made of, and gives each a meaning of ours: a tensor is a `Tensor`.

    No pickle can alter these meanings: methods, strings and built-in types have no attributes to set that matter.

    Args:
        file: stands at the pickle's beginning, and behind it after `load`. Its `read(n)` must not take memory for more
            bytes than the file has: that of `io.BytesIO` and `mmap` does not.

    Attributes:
        storages: those that the pickle mentions, by key.

    Raises:
        UserError: (in `load`) the pickle names anything else.
        Exception: of any kind, as `pickle` raises them: it is no pickle, or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        start = file.tell()
        _check_memo(file)
        file.seek(start)
        super().__init__(file, encoding="latin-1")  # Python 2 wrote names as bytes.
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Callable | str:
        """What a name in the pickle means here: a kind of storage keeps its name."""
        qualified = f"{module}.{name}"
        if qualified in _DTYPES:
            return qualified
        known = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
        }
        if qualified not in known:
            raise UserError(f"holds more than weights ({ascii(qualified)[1:-1]:.80}). Save them alone: {ADVICE}")
        return known[qualified]

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a record of the pickle tells of."""
        kind, storage_type, key, _, size, *view = pid
        if kind != "storage" or not isinstance(key, str) or not _are_counts([size]) or any(view):
            raise pickle.UnpicklingError("no storage")
        storage = Storage(key, _DTYPES[storage_type], size)
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError("a storage of two kinds")
        return storage

    def _tensor(self, storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
        if not isinstance(storage, Storage) or not _are_counts([offset, *shape, *strides]):
            raise pickle.UnpicklingError("no tensor")
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        values = math.prod(shape)
        # More values than the storage has (strides of 0) would let a small file make arrays of any size.
        if values and (last >= storage.size or values > storage.size):
            raise pickle.UnpicklingError("a tensor that is larger than its storage")
        return Tensor(storage, offset, tuple(shape), tuple(strides))

    def _parameter(self, data: Tensor, *_: Any) -> Tensor:
        return data


def _check_memo(file: BinaryIO) -> None:
    """Walks over the pickle without executing it: a few damaged bytes could make the unpickler take all memory."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError(f"value {argument} of a memo of {count} at most")


def _are_counts(values: list) -> bool:
    return all(isinstance(value, int) and value >= 0 for value in values)
