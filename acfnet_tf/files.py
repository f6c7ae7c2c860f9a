"""Files that are there whole or not at all, and reading them where the disk is far away."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from acfnet_tf.config import UserError

T = TypeVar("T")

PAUSES = (0.1, 1.0, 4.0)
"""Seconds before reading is tried again: what is wrong with a network file system often passes."""


@contextlib.contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to; it takes the place of `file` afterwards, and is gone if writing fails."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(file: Path, text: str) -> None:
    """A reader sees the old text or the new one, never half of it."""
    with replaced(file) as partial:
        partial.write_text(text, encoding="utf-8")


def patiently(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns. When the system fails to read, it is tried again a few times.

    Args:
        path: what is read, for the message.
        read: may be called several times.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: at once, as these do not pass.
        UserError: it still cannot be read; says the system's reason.
    """
    for pause in (*PAUSES, None):
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            if pause is None:
                raise UserError(f"cannot read {path}: {error.strerror or error}. Nothing was changed") from error
            time.sleep(pause)
    raise AssertionError  # the last round returns or raises


def names_in(folder: Path) -> list[str]:
    """Names of the files in a folder; [] where there is no such folder.

    Raises:
        UserError: it cannot be read. (`Path.glob` and `Path.exists` would say that nothing is there.)
    """
    try:
        return patiently(folder, lambda: os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def system_reason(error: BaseException) -> str | None:
    """What kept the system from reading a file; None where the fault may be in the file.

    Libraries answer damaged files with `OSError`s of their own, which have no number.
    """
    if isinstance(error, MemoryError):
        return "not enough memory"
    return error.strerror if isinstance(error, OSError) and error.errno is not None else None
