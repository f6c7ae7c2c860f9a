"""Weights in files that Keras wrote: `.keras`, `.weights.h5`, and the `.h5` of earlier days."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np

from acfnet_tf.errors import UserError, first_line
from acfnet_tf.files import is_zip, system_reason
from acfnet_tf.pretrained.keras_resnet import layers_of


def is_keras_file(path: Path) -> bool:
    """Whether the content, whatever the file's name, is HDF5 or a zip file as `keras.Model.save` makes them.

    Raises:
        UserError: the file cannot be read, or is cut off, so that it is a file of nothing.
    """
    zipped = is_zip(path)
    if path.suffix == ".keras" and not zipped:
        raise UserError(f"{path} is no .keras file, or cut off: copy it again")
    if not zipped:
        return h5py.is_hdf5(path)
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist()


def read_keras_file(
    path: Path, original: Callable[[], keras.Model], in_order: bool = False
) -> dict[str, list[np.ndarray]]:
    """Reads {layer: its weights}. Code in the file is not run.

    Args:
        path: `is_keras_file` is true of it.
        original: makes the network without its classifier, for `.weights.h5` files: they number layers without naming
            them.
        in_order: the order of layers counts in `.h5` files of earlier days as well, as in Keras itself: names of some
            networks have changed since.

    Raises:
        UserError: it is damaged, or not of the original.
    """
    try:
        if zipfile.is_zipfile(path):
            return layers_of(_with_suffix(path, ".keras", keras.models.load_model, compile=False, safe_mode=True))
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            legacy = "layer_names" in group.attrs
            if legacy and not in_order:
                return _named_layers(group)
        model = original()
        with warnings.catch_warnings():  # Keras warns at length of what is missing before it raises an error.
            warnings.simplefilter("ignore")
            _with_suffix(path, ".h5" if legacy else ".weights.h5", model.load_weights)
        return layers_of(model)
    except UserError:
        raise
    except Exception as error:  # Keras raises nearly every kind: ValueError, TypeError, OSError, KeyError.
        if why := system_reason(error):
            raise UserError(f"cannot read the weights in {path}: {why}") from error
        reason = first_line(error).partition(". ")[0]
        raise UserError(f"cannot read the weights in {path} (of another network, or damaged?): {reason}") from error


def is_whole(path: Path) -> bool:
    """Whether an HDF5 file is one, and not cut off."""
    try:
        h5py.File(path).close()
    except OSError as error:
        return system_reason(error) is not None  # Then nothing is known against it.
    return True


def _with_suffix(path: Path, suffix: str, read: Callable, **options: object) -> object:
    """Reads a file of any name under one that tells what it is, as Keras goes by a file's name."""
    if path.name.partition(".")[2] == suffix[1:]:
        return read(path, **options)
    with tempfile.TemporaryDirectory() as folder:
        return read(shutil.copyfile(path, Path(folder, f"file{suffix}")), **options)


def _named_layers(group: h5py.Group) -> dict[str, list[np.ndarray]]:
    """Reads the layout of earlier days: a group per layer, and the order in attributes."""
    return {
        layer: [np.asarray(group[layer][weight]) for weight in _texts(group[layer], "weight_names")]
        for layer in _texts(group, "layer_names")
        if len(group[layer].attrs["weight_names"])
    }


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    return [text.decode() if isinstance(text, bytes) else str(text) for text in group.attrs[attribute]]
