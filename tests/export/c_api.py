"""Answers a request with an exported SavedModel through TensorFlow's C library: no Python of TensorFlow's or ours.

That library reaches the loader that TF Serving uses, and like TF Serving this program forbids XLA compilation.

    python c_api.py LIBRARY SAVED_MODEL INPUT OUTPUT... < FILES > ANSWERS

INPUT and OUTPUT are tensors, operation:index, of one dimension and type string. FILES and ANSWERS are JSON: a list of
base64 strings, and {output: such a list}, or {"error": message}.
"""

from __future__ import annotations

import base64
import ctypes
import json
import sys
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p

STRING, STRING_BYTES = 7, 24
"""TF_STRING and sizeof(TF_TString)."""


class Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


class Session:
    """A SavedModel with the tag `serve`, loaded by the library."""

    def __init__(self, library: str, path: str) -> None:
        self.tf = ctypes.CDLL(library)
        for name in (
            "TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel", "TF_TensorData",
            "TF_GraphOperationByName", "TF_AllocateTensor", "TF_StringGetDataPointer",
        ):  # fmt: skip
            getattr(self.tf, name).restype = c_void_p
        self.tf.TF_Message.restype = c_char_p
        self.tf.TF_StringGetSize.restype = c_size_t
        self.tf.TF_Dim.restype = c_int64
        self.tf["_ZN10tensorflow21DisableXlaCompilationEv"]()  # tensorflow::DisableXlaCompilation(), as TF Serving does
        self.status = c_void_p(self.tf.TF_NewStatus())
        self.graph = c_void_p(self.tf.TF_NewGraph())
        options = c_void_p(self.tf.TF_NewSessionOptions())
        tags = (c_char_p * 1)(b"serve")
        session = self.tf.TF_LoadSessionFromSavedModel(
            options, None, path.encode(), tags, 1, self.graph, None, self.status
        )
        self.check()
        self.session = c_void_p(session)

    def check(self) -> None:
        if self.tf.TF_GetCode(self.status):
            raise RuntimeError(self.tf.TF_Message(self.status).decode(errors="replace"))

    def run(self, feed: str, strings: list[bytes], fetches: list[str]) -> list[list[bytes]]:
        feeds, wanted = (Output * 1)(self.output(feed)), (Output * len(fetches))(*map(self.output, fetches))
        inputs, outputs = (c_void_p * 1)(self.tensor(strings)), (c_void_p * len(fetches))()
        self.tf.TF_SessionRun(
            self.session, None, feeds, inputs, 1, wanted, outputs, len(fetches), None, 0, None, self.status
        )
        self.check()
        return [self.strings(tensor) for tensor in outputs]

    def output(self, tensor: str) -> Output:
        name, index = tensor.split(":")
        operation = self.tf.TF_GraphOperationByName(self.graph, name.encode())
        if not operation:
            raise RuntimeError(f"no operation {name}")
        return Output(operation, int(index))

    def tensor(self, strings: list[bytes]) -> int:
        shape = (c_int64 * 1)(len(strings))
        tensor = self.tf.TF_AllocateTensor(STRING, shape, 1, c_size_t(STRING_BYTES * len(strings)))
        begin = self.tf.TF_TensorData(c_void_p(tensor))
        for index, content in enumerate(strings):
            string = c_void_p(begin + STRING_BYTES * index)
            self.tf.TF_StringInit(string)
            self.tf.TF_StringCopy(string, content, c_size_t(len(content)))
        return tensor

    def strings(self, tensor: int) -> list[bytes]:
        begin = self.tf.TF_TensorData(c_void_p(tensor))
        strings = [c_void_p(begin + STRING_BYTES * i) for i in range(self.tf.TF_Dim(c_void_p(tensor), 0))]
        sizes = map(self.tf.TF_StringGetSize, strings)
        return [
            ctypes.string_at(self.tf.TF_StringGetDataPointer(string), size)
            for string, size in zip(strings, sizes, strict=True)
        ]


def main(library: str, path: str, feed: str, *fetches: str) -> dict[str, object]:
    files = [base64.b64decode(text) for text in json.load(sys.stdin)]
    try:
        answers = Session(library, path).run(feed, files, list(fetches))
    except RuntimeError as error:
        return {"error": str(error)}
    strangers = {"tensorflow", "keras", "acfnet_tf", "numpy"} & set(sys.modules)
    assert not strangers, strangers
    return {
        name: [base64.b64encode(s).decode() for s in strings] for name, strings in zip(fetches, answers, strict=True)
    }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
