"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


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
