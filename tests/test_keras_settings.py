"""What is said, before Keras loads, where it is set to something that this package does not run with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from acfnet_tf.keras_settings import check_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The folder of keras.json, as it is before Keras is loaded."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.delitem(sys.modules, "keras")
    return tmp_path


def message() -> str:
    with pytest.raises(ImportError) as error:
        check_settings()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("backend", ["torch", "jax", "numpy"])
def test_another_backend(home, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert f"KERAS_BACKEND is '{backend}': unset it, or set KERAS_BACKEND=tensorflow" in message()


@pytest.mark.parametrize(
    ("name", "value"), [("image_data_format", "channels_first"), ("floatx", "float16"), ("floatx", 8), ("epsilon", 1)]
)
def test_settings_in_the_file(home, name, value):
    (home / "keras.json").write_text(json.dumps({name: value}), encoding="utf-8")
    said = message()
    assert said.startswith(f'{home / "keras.json"} sets "{name}" to {json.dumps(value)}, but acfnet_tf wants ')


@pytest.mark.parametrize("content", ["[1]", "5"])
def test_a_file_of_no_settings(home, content):
    (home / "keras.json").write_text(content, encoding="utf-8")
    assert f"{home / 'keras.json'} must hold settings" in message()


def test_a_file_that_is_a_folder(home):
    (home / "keras.json").mkdir()
    assert "cannot be read: Is a directory" in message()


def test_settings_made_before_the_import():
    keras.config.set_image_data_format("channels_first")
    try:
        assert "call keras.config.set_image_data_format('channels_last') before the import" in message()
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("program", [["main.py", "--mode=serve", "--model=x"], ["-m", "acfnet_tf.launch"]])
def test_programs_say_it_in_one_line(program):
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, *program], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: acfnet_tf runs on TensorFlow, but the environment variable KERAS_BACKEND")
