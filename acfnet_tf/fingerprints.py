"""Whether what a file holds may have changed, without reading it."""

from __future__ import annotations

import os
from pathlib import Path

from acfnet_tf.data.sample import Piece
from acfnet_tf.errors import DataError


def fingerprint(source: str | Path | Piece) -> str:
    """Size and time of a file, or checksum of a piece: tells whether its content may have changed.

    Raises:
        DataError: there is no such file.
    """
    if isinstance(source, Piece):
        return f"{source.length} {source.crc}"
    try:
        status = os.stat(source)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror}).") from error
    return f"{status.st_size} {status.st_mtime_ns}"
