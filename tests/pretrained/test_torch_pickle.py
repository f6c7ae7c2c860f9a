"""Files that want more than to be read: nothing of them is executed, and none takes more memory than it has bytes."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.torch_file import read_torch_file
from tests.pretrained.torch_files import (
    ARRAYS,
    assert_equal,
    numbers,
    refusal,
    text,
    write_legacy,
    write_zip,
)

FOLDER = Path(__file__).parent
FORMS = {"zip": write_zip, "legacy": write_legacy}
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def command(mark: Path) -> bytes:
    return text(f"touch {mark}")


def view(offset: bytes, size: int, stride: int) -> bytes:
    """A tensor of one axis of a storage of 24 values."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x18tQ"
    return TENSOR + b"(" + storage + offset + numbers((size,)) + numbers((stride,)) + b"tR."


HARMFUL: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "reduce": (lambda mark: b"cposix\nsystem\n(" + command(mark) + b"tR.", "posix.system"),
    "instance": (lambda mark: b"(" + command(mark) + b"iposix\nsystem\n.", "posix.system"),
    "object": (lambda mark: b"(cposix\nsystem\n" + command(mark) + b"o.", "posix.system"),
    "stack": (lambda mark: text("posix") + text("system") + b"\x93(" + command(mark) + b"tR.", "posix.system"),
    "eval": (lambda mark: b"cbuiltins\neval\n(" + text(f"open({str(mark)!r}, 'w')") + b"tR.", "builtins.eval"),
    "in a storage": (lambda mark: b"(cposix\nsystem\n(" + command(mark) + b"tRtQ.", "posix.system"),
    "in a tensor": (lambda mark: TENSOR + b"(cposix\nsystem\n(" + command(mark) + b"tRtR.", "posix.system"),
    "nested pickle": (lambda _: b"ctorch.storage\n_load_from_bytes\n(C\x01.tR.", "torch.storage._load_from_bytes"),
    "any class": (lambda _: b"ccopyreg\n_reconstructor\n(tR.", "copyreg._reconstructor"),
    "line break": (lambda _: text("a\nb") + text("c") + b"\x93.", r"a\nb.c"),
    "unregistered": (lambda _: b"\x82\x01.", "damaged"),
    "new defaults": (lambda _: TENSOR + b"N}" + text("__defaults__") + b")s\x86b.", "damaged"),
    "no storage": (lambda _: TENSOR + b"(K\x00K\x00" + numbers((1,)) + numbers((1,)) + b"tR.", "no tensor"),
    "odd storage": (lambda _: b"(" + text("storage") + text("torch.Other") + text("0") * 2 + b"K\x01tQ.", "Other"),
    "huge tensor": (lambda _: view(b"K\x00", 2**30, 1), "larger than its storage"),
    "repeated value": (lambda _: view(b"K\x00", 2**30, 0), "larger than its storage"),
    "behind the storage": (lambda _: view(b"K\x01", 24, 1), "larger than its storage"),
    "before the storage": (lambda _: view(b"J\xff\xff\xff\xff", 1, 1), "no tensor"),
    "huge memo": (lambda _: b"Nr\xff\xff\xff\x7f.", "memo"),
    "huge bytes": (lambda _: b"\x96" + struct.pack("<Q", 2**40) + b".", "damaged"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HARMFUL)
def test_nothing_in_a_file_is_executed(tmp_path, form, name):
    mark = tmp_path / "mark"
    pickle, expected = HARMFUL[name]
    message = refusal(FORMS[form](tmp_path / "weights.pth", ARRAYS, pickle=b"\x80\x05" + pickle(mark)))
    assert expected in message
    assert not mark.exists()
    # No pickle alters how the next file is read.
    assert_equal(read_torch_file(FORMS[form](tmp_path / "good.pth", ARRAYS)), ARRAYS)


def test_a_compressed_file_cannot_be_a_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    assert "larger than the whole" in refusal(tmp_path / "bomb")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "weights.pth"


@pytest.mark.parametrize("file", ["torch_2.13.pth", "torch_2.13_legacy.pth"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_a_refusal_or_arrays(damaged, file, data):
    content = bytearray((FOLDER / file).read_bytes())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = byte
    damaged.write_bytes(content)
    try:
        arrays = read_torch_file(damaged)
    except UserError:
        return
    assert sum(array.nbytes for array in arrays.values()) < 10 * len(content)
