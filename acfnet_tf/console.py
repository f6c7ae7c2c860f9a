"""What a program does about its console: letters that it cannot show, readers that are gone, streams that are closed.

main.py runs this file without the package around it, which takes seconds to load.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator

_UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextlib.contextmanager
def quiet(*descriptors: int) -> Iterator[None]:
    """Nothing reaches these (1: stdout, 2: stderr), neither from Python nor from C++, which writes to them itself."""
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    kept, null = {descriptor: os.dup(descriptor) for descriptor in descriptors}, os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(null)


@contextlib.contextmanager
def console() -> Iterator[None]:
    """Around all that a program does.

    Letters that the console's encoding lacks are shown as "\\u2013". Where the reader of a pipe is gone, as after
    `| head`, the program ends without a word and with the status that a shell shows for SIGPIPE. A file that the system
    refuses is one line.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed; the next file that is opened would get its number, and what is printed
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, as long as the program
        getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename and error.strerror:  # such as a folder that one may not enter, or a name that is too long
            sys.exit(f"Error: {error.filename}: {error.strerror}")
        if error.errno not in _UNWRITTEN:
            raise
        null = os.open(os.devnull, os.O_WRONLY)  # for what is left in the buffers
        os.dup2(null, 1)
        if error.errno == errno.EPIPE:
            os.dup2(null, 2)
            sys.exit(128 + signal.SIGPIPE)
        sys.exit(f"Error: what is printed cannot be written: {error.strerror}")
