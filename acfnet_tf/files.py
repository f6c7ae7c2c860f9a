"""Files that are there whole or not at all, what is said when they cannot be written, and patience in reading them."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from acfnet_tf.errors import UserError

T = TypeVar("T")

PAUSES = (0.1, 1.0, 4.0)
"""Seconds before reading is tried again: what is wrong with a network file system often passes."""

_DOES_NOT_PASS = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)


@contextlib.contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to; it takes the place of `file` afterwards, and is gone if writing fails.

    It has the suffix of `file`, and a name that is never too long where that of `file` is not. The folder is made if
    needed.

    Raises:
        OSError: the system does not let it be written. It names `file`.
    """
    digest = zlib.crc32(os.fsencode(file.name))
    partial = file.with_name(f".{file.name[:40]}.{digest:08x}.{os.getpid()}{file.suffix[:10]}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, file)
    except OSError as error:
        if error.filename == str(partial):
            error.filename = str(file)  # The other name means nothing to anybody.
        raise
    finally:
        with contextlib.suppress(OSError):  # It is gone when all went well.
            partial.unlink()


@contextlib.contextmanager
def write_errors(place: str | Path) -> Iterator[None]:
    """Turns a full disk, a missing permission and their like into one line.

    Args:
        place: what is written, where the system does not say.

    Raises:
        UserError: with that line, instead of an `OSError`.
    """
    try:
        yield
    except ConnectionError:  # It is of the console or a network, not of files.
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno and isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file stands where a folder must be"
        raise UserError(f"cannot write {error.filename or place}: {reason}") from error


@contextlib.contextmanager
def writing(file: Path) -> Iterator[Path]:
    """`replaced` for what a user waits for: what the system refuses is one line.

    Raises:
        UserError: the file cannot be written. What was there before is still there.
    """
    with write_errors(file), replaced(file) as partial:
        yield partial


def write_atomically(file: Path, text: str) -> None:
    """A reader sees the old text or the new one, never half of it.

    Bytes in the names of files that are not UTF-8 become what JSON, too, writes for them: "\\udcff".

    Raises:
        UserError: it cannot be written.
    """
    with writing(file) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def as_utf_8(name: str) -> str:
    """A file's name for what takes no others: bytes that are not UTF-8 become "\\udcff", as in `write_atomically`."""
    return name.encode(errors="backslashreplace").decode()


def patiently(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns. When the system fails to read, it is tried again a few times.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: at once, as these do not pass.
        UserError: it still cannot be read, or may not be; says the system's reason.
    """
    for pause in (*PAUSES, None):
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            if pause is None or error.errno in _DOES_NOT_PASS:
                raise UserError(f"cannot read {path}: {error.strerror or error}. Nothing was changed") from error
            time.sleep(pause)
    raise AssertionError  # The last round returns or raises.


def is_zip(path: Path) -> bool:
    """Whether a file is a zip file, as `.keras` files are.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: there is no such file.
        UserError: it cannot be read. (`zipfile.is_zipfile` would say that it is none.)
    """
    patiently(path, lambda: path.open("rb").close())
    return zipfile.is_zipfile(path)


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
