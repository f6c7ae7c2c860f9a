"""What is said of a model file that cannot be opened: the system's reason, or that the file is at fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from acfnet_tf import files
from acfnet_tf.errors import UserError
from acfnet_tf.models.loading import load_model
from acfnet_tf.pretrained.keras_file import is_keras_file, is_whole, read_keras_file


@pytest.fixture
def model_file(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_read_error_is_not_damage(number, model_file, monkeypatch):
    calls, most, call = [], 0, Path.open

    def or_fail(path, *arguments, **options):
        calls.append(path)
        if len(calls) <= most:
            raise OSError(number, os.strerror(number), str(path))
        return call(path, *arguments, **options)

    monkeypatch.setattr(files, "PAUSES", (0, 0))
    monkeypatch.setattr(Path, "open", or_fail)
    for read in (load_model, is_keras_file):
        calls.clear()
        most = 2
        assert read(model_file)
        calls.clear()
        most = 3
        with pytest.raises(UserError, match=rf"^cannot read {model_file}: {os.strerror(number)}"):
            read(model_file)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_what_fails_while_keras_reads_is_not_damage_either(error, model_file, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(keras.models, "load_model", fail)
    for read in (load_model, lambda file: read_keras_file(file, None)):
        with pytest.raises(UserError, match=r"^cannot read the .*: (not enough memory|Input/output error)$"):
            read(model_file)


def test_damage_is_called_so(model_file, tmp_path):
    content = bytearray(model_file.read_bytes())
    content[len(content) // 2] ^= 255
    model_file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_model(model_file)
    model_file.write_bytes(content[:-30])
    with pytest.raises(UserError, match="cut off"):
        load_model(model_file)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    assert not is_whole(tmp_path / "a.h5")


def test_a_model_whose_numbers_are_not_finite_is_refused(tmp_path):
    """Its labels would be those of one class, without a word."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.set_weights([np.ones((2, 1)), np.array([np.nan])])
    model.save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"1 of 2 variables are not finite, dense.*bias the"):
        load_model(tmp_path)
