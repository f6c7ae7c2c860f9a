"""Parts of a training step that XLA compiles into few operations, each of which reads its maps once."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_compiling = contextvars.ContextVar("compiling", default=False)


@contextlib.contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Whether what is traced in here is to be compiled where `compiled` marks it."""
    token = _compiling.set(wanted)
    try:
        yield
    finally:
        _compiling.reset(token)


def is_compiling() -> bool:
    return _compiling.get()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of tensors; in `compiling` one operation, made once for the same shapes."""
    operation = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors: Any) -> Any:
        return (operation if is_compiling() else function)(*tensors)

    return call


@functools.cache
def pays() -> bool:
    """Whether there is a GPU here, where every operation is a launch of its own, and XLA compiles for it."""
    if not tf.config.get_visible_devices("GPU"):
        return False
    try:
        tf.function(lambda x: tf.math.rsqrt(tf.reduce_sum(tf.exp(x))), jit_compile=True)(tf.ones(8)).numpy()
    except tf.errors.OpError:  # A library or a program of CUDA is missing.
        return False
    return True
