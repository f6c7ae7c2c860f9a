"""What Keras must be set to for this package, and what is said where it is not: before Keras loads, if possible."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_WANTED = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
"""Keras's own defaults. Layers, also those of Keras's libraries, take them from there when they are made."""


def check_settings() -> None:
    """Chooses the backend, unless the environment does, and makes sure that Keras is set to what is wanted.

    Raises:
        ImportError: it is not. In one line: what is set where, and how to mend it.
    """
    if "keras" not in sys.modules:
        backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
        if backend != "tensorflow":
            raise ImportError(
                f"acfnet_tf runs on TensorFlow, but the environment variable KERAS_BACKEND is {backend!r}: unset it, or"
                " set KERAS_BACKEND=tensorflow"
            )
        os.environ["KERAS_BACKEND"] = backend  # which counts more than keras.json
        file, found = _read_file()
        for name, wanted in _WANTED.items():
            if found.get(name, wanted) != wanted:
                raise ImportError(
                    f'{file} sets "{name}" to {json.dumps(found[name])}, but acfnet_tf wants {json.dumps(wanted)}:'
                    " change or remove it there, or let the environment variable KERAS_HOME name another folder"
                )
    try:
        import keras
    except ValueError as error:  # of another setting, such as MPLBACKEND
        raise ImportError(f"Keras cannot be loaded: {error}") from error
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            f"acfnet_tf needs Keras's TensorFlow backend, not {keras.backend.backend()!r}: set KERAS_BACKEND=tensorflow"
            " before keras is imported"
        )
    for name, wanted in _WANTED.items():
        if (value := getattr(keras.config, name)()) != wanted:
            raise ImportError(
                f"Keras is set to {name}={value!r}, but acfnet_tf wants {wanted!r}: call"
                f" keras.config.set_{name}({wanted!r}) before the import"
            )


def _read_file() -> tuple[str, dict[str, Any]]:
    """Path and content of keras.json, which need not be there."""
    home = os.path.expanduser("~")
    folder = os.environ.get("KERAS_HOME", os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras"))
    file = os.path.expanduser(os.path.join(folder, "keras.json"))
    try:
        with open(file, encoding="utf-8") as stream:
            content = json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return file, {}
    except ValueError:  # Keras, too, takes a damaged one for none
        return file, {}
    except OSError as error:
        raise ImportError(f"{file}, which Keras reads, cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise ImportError(f"{file} must hold settings of Keras, {{...}}: mend or remove it")
    return file, content
