"""Opening a trained model for inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from acfnet_tf.errors import UserError
from acfnet_tf.files import is_zip, system_reason

MODEL_FILE = "model.keras"


def load_model(path: str | Path) -> keras.Model:
    """The model of a run folder (its `model.keras`) or of a `.keras` file, without optimizer state.

    Raises:
        UserError: there is no such file, Keras cannot load it, or its numbers are not finite.
    """
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    try:
        zipped = is_zip(file)
    except OSError as error:
        hint = f"{path} has no {MODEL_FILE}; has its training finished?" if path.is_dir() else "no such file"
        raise UserError(f"no model at {file}: {hint}") from error
    if not zipped:  # Keras would say that it does not exist.
        raise UserError(f"{file} is no .keras file, or cut off: copy it again")
    try:
        model = keras.models.load_model(file, compile=False)
    except Exception as error:  # Keras raises nearly every kind: ValueError, TypeError, OSError, BadZipFile, KeyError
        if why := system_reason(error):
            raise UserError(f"cannot read the model {file}: {why}") from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot load the model {file} (damaged, or of another version?): {reason}") from error
    if broken := not_finite({variable.path: variable for variable in model.weights}):
        raise UserError(f"{file}: {broken}. Its training went wrong: train again, or take an earlier model")
    return model


def not_finite(variables: Mapping[str, Any]) -> str:
    """Which variables, of Keras or TensorFlow by name, are not finite, as a sentence; "" where all are."""
    broken = [name for name, variable in variables.items() if not np.isfinite(variable.numpy()).all()]
    count = f"{len(broken)} of {len(variables)} variables are not finite"
    return f"{count}, {broken[0]} the first of them" if broken else ""
