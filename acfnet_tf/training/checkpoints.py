"""Checkpoints of a run that survive what happens to runs: a kill, a full disk, a damaged file."""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from acfnet_tf.errors import ConfigError, UserError
from acfnet_tf.files import names_in, patiently, replaced

CHECKSUM_BYTES = 8
BLOCK_BYTES = 1 << 20


class Checkpoints:
    """Checkpoints of a run: one file each, there whole or not at all; the newest ones are kept, and the best.

    A checkpoint is an .npz of one array per variable. Its last bytes, the comment of the zip, are the CRC-32 of all
    bytes before them: the sums inside a zip do not cover its table of contents. One process at a time may write.

    Args:
        variables: by name; `tf.Variable`s, mirrored or not.
        keep: how many of the newest checkpoints are kept, at least 1.

    Attributes:
        best: the step whose checkpoint is kept however old it is.
    """

    def __init__(self, folder: Path, variables: Mapping[str, Any], keep: int = 3) -> None:
        self.best: int | None = None
        self._folder, self._variables, self._keep = folder, variables, keep

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, ascending."""
        names = (re.fullmatch(r"step_(\d{8,})\.npz", name) for name in names_in(self._folder))
        return sorted(int(name[1]) for name in names if name)

    def save(self, step: int) -> Path:
        """Writes the checkpoint of this step, then removes those that need not be kept.

        Returns:
            Its file.

        Raises:
            UserError: it cannot be written. The ones before it are still there.
        """
        file, before = self._file(step), self.steps()
        try:
            with replaced(file) as partial, partial.open("w+b") as stream:
                self._write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            _sync_folder(self._folder)
            for old in self.steps()[: -self._keep]:
                if old != self.best:
                    self._file(old).unlink()
        except OSError as error:
            rest = "There is no checkpoint before it."
            if before:
                rest = f"The checkpoint before it is intact: {self._file(before[-1])}; "
                rest += "the same command continues from there."
            raise UserError(f"cannot write checkpoint {file}: {error.strerror}. {rest}") from error
        return file

    def restore(self) -> int | None:
        """Sets the variables to the newest checkpoint that is undamaged; damaged ones are named and put aside.

        Damaged is one whose checksum or structure is wrong. One that cannot be read is left as it is.

        Returns:
            Its step; None where there is no checkpoint.

        Raises:
            ConfigError: the checkpoint is of another model. No variable has changed.
            UserError: there are only damaged ones, or the newest cannot be read.
        """
        for partial in self._folder.glob(".step_*.npz.*"):  # A process that was killed has left them.
            with contextlib.suppress(OSError):
                partial.unlink()
        steps = self.steps()
        while steps:
            step = steps.pop()
            file = self._file(step)
            try:
                patiently(file, lambda file=file: self._read(file))
                return step
            except (IsADirectoryError, zipfile.BadZipFile) as error:
                damaged = file.with_name(f"{file.name}.damaged")
                os.replace(file, damaged)
                rest = "; continuing from the one before" if steps else ""
                reason = getattr(error, "strerror", None) or error
                print(f"Checkpoint {file} is damaged ({reason}): it is now {damaged.name}{rest}.", flush=True)
        # An earlier call may have put them aside: beginning anew must be the user's decision.
        if any(re.fullmatch(r"step_\d+\.npz\.damaged", name) for name in names_in(self._folder)):
            raise UserError(f"{self._folder} holds only damaged checkpoints. Move the folder away to begin anew")
        return None

    def _file(self, step: int) -> Path:
        return self._folder / f"step_{step:08d}.npz"

    def _write(self, stream: BinaryIO) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            for name, variable in self._variables.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(variable.numpy()), allow_pickle=False)
            archive.comment = bytes(CHECKSUM_BYTES)  # The checksum takes its place.
        stream.write(_checksum(stream))

    def _read(self, file: Path) -> None:
        """Checks everything first, so that a file that does not fit changes no variable."""
        with file.open("rb") as stream:
            if _checksum(stream) != stream.read():
                raise zipfile.BadZipFile("cut short or changed: its checksum is wrong")
            with zipfile.ZipFile(stream) as archive:
                self._check_same_model(file, archive)
                for name, variable in self._variables.items():
                    with archive.open(f"{name}.npy") as member:
                        variable.assign(np.lib.format.read_array(member, allow_pickle=False))

    def _check_same_model(self, file: Path, archive: zipfile.ZipFile) -> None:
        stored = {}
        for member_name in archive.namelist():
            with archive.open(member_name) as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            stored[member_name.removesuffix(".npy")] = f"{dtype.name} {shape}"
        expected = {
            name: f"{tf.as_dtype(variable.dtype).name} {tuple(variable.shape)}"
            for name, variable in self._variables.items()
        }
        differences = [
            f"{name} is {stored.get(name, 'missing')} in the file, {expected.get(name, 'missing')} in the model"
            for name in expected | stored
            if stored.get(name) != expected.get(name)
        ]
        if differences:
            more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
            raise ConfigError(f"{file} is no checkpoint of this model: {'; '.join(differences[:3])}{more}")


def _checksum(stream: BinaryIO) -> bytes:
    """The checksum of all but the last bytes, which are next to be read or written."""
    remaining = max(0, stream.seek(0, os.SEEK_END) - CHECKSUM_BYTES)
    stream.seek(0)
    checksum = 0
    while block := stream.read(min(remaining, BLOCK_BYTES)):
        checksum = zlib.crc32(block, checksum)
        remaining -= len(block)
    return b"%08x" % checksum


def _sync_folder(folder: Path) -> None:
    """Makes a renaming last: a file's own sync does not cover its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
