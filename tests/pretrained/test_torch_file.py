"""What is in PyTorch's files of both forms and in safetensors, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acfnet_tf.pretrained.torch_file import read_torch_file
from tests.pretrained.torch_files import ARRAYS, WRITERS, assert_equal, refusal, write_safetensors, write_zip

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("file", ["torch_2.13.pth", "torch_2.13_legacy.pth"])
def test_files_that_pytorch_wrote(file):
    """Checkpoints with every dtype, views of a shared storage, a parameter, an optimizer's tensors beside."""
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "transposed": whole.T,
        "row": whole[1],
        "whole": whole,
        "half": np.array([1.5, -2], np.float16),
        "bfloat16": np.array([1.5, -2], np.float32),
        "double": np.array([[0.1]]),
        "count": np.array(7),
        "int32": np.array([-1], np.int32),
        "byte": np.array([255], np.uint8),
        "bool": np.array([True, False]),
        "parameter": np.array([1.5, -2], np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert_equal(read_torch_file(FOLDER / file), expected)


@pytest.mark.parametrize("form", WRITERS)
def test_the_content_tells_the_form_not_the_name(tmp_path, form):
    assert_equal(read_torch_file(WRITERS[form](tmp_path / "weights.h5", ARRAYS)), ARRAYS)


@pytest.mark.parametrize("header_size", [0x180, 0x4B50])  # which begin like a pickle, and like a zip file
def test_safetensors_whatever_the_size_of_its_header(tmp_path, header_size):
    path = write_safetensors(tmp_path / "weights.safetensors", header_size=header_size)
    assert_equal(read_torch_file(path), ARRAYS)


def test_bfloat16_of_safetensors_becomes_float32(tmp_path):
    path = write_safetensors(tmp_path / "weights", {"bias": np.array([0x3FC0, 0xC000], np.uint16)})
    assert_equal(read_torch_file(path), {"bias": np.array([1.5, -2], np.float32)})


def test_files_of_big_endian_machines(tmp_path):
    assert_equal(read_torch_file(write_zip(tmp_path / "weights", ARRAYS, big=True)), ARRAYS)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.conv1.weight", "module.fc.bias"], ["conv1.weight", "fc.bias"]),
        (["module.encoder.conv1.weight", "module.decoder.bias"], ["conv1.weight", "decoder.bias"]),
        (["backbone.stem.0.weight", "decode_head.bias"], ["stem.0.weight", "decode_head.bias"]),
        (["model.fc.bias", "fc.bias"], ["model.fc.bias", "fc.bias"]),  # of which neither may be lost
    ],
)
def test_names_lose_the_prefixes_of_wrappers(tmp_path, names, expected):
    path = write_zip(tmp_path / "weights", {name: np.zeros(1, np.float32) for name in names})
    assert list(read_torch_file(path)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"GIF89a" + bytes(64), "no file of weights"),
        (b"\x80\x02}.", "is a pickle, but not of PyTorch"),
    ],
)
def test_something_else_is_called_what_it_is(tmp_path, content, expected):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_files_without_a_state_dict(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.pth")
    assert "Is a directory" in refusal(tmp_path)
    assert "torch.save(model.state_dict()" in refusal(write_zip(tmp_path / "empty.pth", {}))
    np.savez(tmp_path / "weights.npz", **ARRAYS)
    assert "is a zip file, but not of PyTorch" in refusal(tmp_path / "weights.npz")


@pytest.mark.parametrize("form", WRITERS)
def test_a_cut_file_is_called_cut(tmp_path, form):
    whole = WRITERS[form](tmp_path / "whole", ARRAYS).read_bytes()
    cut = tmp_path / "cut"
    for tenths in range(1, 10):
        cut.write_bytes(whole[: len(whole) * tenths // 10])
        assert "cut off, damaged" in refusal(cut)
