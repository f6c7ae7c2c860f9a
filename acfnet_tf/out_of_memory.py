"""Where memory does not suffice: one line with what helps, instead of TensorFlow's many."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Callable, Iterator

import tensorflow as tf

from acfnet_tf.errors import UserError

_SAID = re.compile(r"[^\n]*(\bOOM\b|out of memory|failed to allocate)[^\n]*", re.IGNORECASE)
"""The line of an error that says it. The class of the error does not tell: a full disk is a ResourceExhaustedError too,
and cuDNN without workspace is another."""
_PLACES = re.compile(r"\{\{function_node [^}]*\}\} |/job:\S*/device:| \[Op:\S*")
"""What in that line is of no use to a user."""


IN_WINDOWS = (
    "an image is labelled in windows by --set evaluation.mode=sliding, and smaller ones, by "
    "--set evaluation.window=HEIGHT,WIDTH, need less"
)
OTHERS = "another program may hold memory of the device"


@contextlib.contextmanager
def saying_what_helps(labelling: str = IN_WINDOWS, otherwise: Callable[[], str] = lambda: OTHERS) -> Iterator[None]:
    """Around anything that computes.

    Args:
        labelling: what helps where it is an image that was being labelled.
        otherwise: gives what helps elsewhere.

    Raises:
        UserError: memory did not suffice; says for what, and what helps.
    """
    try:
        yield
    except tf.errors.OpError as error:
        said = _SAID.search(error.message)
        if said is None:
            raise
        modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        helps = labelling if any(module.startswith("acfnet_tf.inference.") for module in modules) else otherwise()
        said = _PLACES.sub("", said[0]).strip()
        raise UserError(f"not enough memory: {helps} (TensorFlow says: {said})") from error
