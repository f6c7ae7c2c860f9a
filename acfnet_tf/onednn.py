"""oneDNN, which makes TensorFlow's convolutions fast on x86 processors: turned on before TensorFlow loads."""

from __future__ import annotations

import os
import platform
import sys
import warnings

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
"""Read by TensorFlow once, when it loads. "1" or "0" of the user's stay."""
_MAY_HELP = platform.machine() in ("x86_64", "AMD64")


def turn_on() -> None:
    """Has TensorFlow use oneDNN, which without AVX-512 it does not by itself, unless the user has decided.

    Where TensorFlow is loaded already, and without oneDNN, there is a warning.
    """
    if VARIABLE in os.environ or not _MAY_HELP:
        return
    if "tensorflow" not in sys.modules:
        os.environ[VARIABLE] = "1"
    elif not is_on():
        warnings.warn(
            f"TensorFlow was loaded before acfnet_tf, and without oneDNN: on this processor, convolutions take longer."
            f" Import acfnet_tf before tensorflow and keras, or set {VARIABLE}=1 (0 silences this warning)",
            RuntimeWarning,
            stacklevel=3,
        )


def what_runs_convolutions() -> str:
    """For the first lines of a training: a few words, and where it is a slow way a warning with the remedy."""
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return "Convolutions: cuDNN."
    if is_on():
        return "Convolutions: oneDNN."
    if not _MAY_HELP:
        return "Convolutions: TensorFlow's own."
    here = f"here it is {os.environ[VARIABLE]}" if VARIABLE in os.environ else "here it is not set"
    return (
        "Convolutions: TensorFlow's own. Warning: they take longer than oneDNN's, which the environment variable"
        f" {VARIABLE}=1 turns on ({here})."
    )


def is_on() -> bool:
    """Whether the TensorFlow that is loaded has oneDNN run its operations on CPUs, as far as it can be told."""
    try:
        from tensorflow.python.util import _pywrap_util_port  # no public function tells
    except ImportError:
        return True
    return _pywrap_util_port.IsMklEnabled()
