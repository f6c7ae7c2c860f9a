"""The user's mistakes, and what is wrong with the user's files: each is one line, without a stack trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_IS_CHECKOUT = Path(__file__).parents[1].joinpath("setup.cfg").exists()


class UserError(Exception):
    """A mistake of the user's: shown as one clear line, without a stack trace, with exit status 1."""


class ConfigError(UserError):
    """An experiment or a setting that does not exist or does not fit."""


class DataError(UserError):
    """A file or folder of the data set that is missing, damaged or not what it should be. One line that names it."""


class Stopped(Exception):
    """Training ended before its last step for a reason outside of it: a signal, or a lost worker.

    Schedulers (Kubernetes Jobs, Kubeflow's policy ExitCode, wrappers under Slurm) decide by the exit status whether to
    start again: 128 + the number of a signal, as 143 for SIGTERM and 130 for SIGINT, means that a restart continues,
    while 1 means a mistake that no restart mends.

    Args:
        message: what happened, for the user.
        number: of the signal that ended it, or of the one that comes nearest.

    Attributes:
        status: the exit status.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number


@contextlib.contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Around imports of packages that are optional.

    Raises:
        UserError: one of them is not installed, or broken. The line names it and the extra that brings it.
    """
    try:
        yield
    except ImportError as error:
        package = f'-e ".[{extra}]"' if _IS_CHECKOUT else f'"acfnet_tf[{extra}]"'
        lack = error.name if isinstance(error, ModuleNotFoundError) else first_line(error)
        raise UserError(f"{what} needs more packages ({lack}): pip install {package}") from error


def first_line(error: BaseException) -> str:
    """What an error says, at most one line of it, or its name where it says nothing."""
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
