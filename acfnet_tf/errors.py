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
        status: the exit status, 128 + the number of a signal.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Failures:
    """Gathers what goes wrong with single items of many, so that a bad one does not stop the others.

    Attributes:
        errors: those that were gathered, in the order in which they came.
    """

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    @contextlib.contextmanager
    def of_one(self) -> Iterator[None]:
        """Around the work on one item: its `UserError` is gathered, and the block left."""
        try:
            yield
        except UserError as error:
            self.errors.append(error)

    def raise_any(self, total: int, things: str = "images") -> None:
        """Says what failed, when everything else is done.

        Args:
            total: how many items there were.

        Raises:
            UserError: the gathered errors, a line each; the error itself where there was one item only.
        """
        if self.errors and total == 1:
            raise self.errors[0]
        if self.errors:
            unread = things == "images" and all(isinstance(error, DataError) for error in self.errors)
            how = "could not be read" if unread else "failed"
            lines = "\n  ".join(map(str, self.errors))
            raise UserError(f"{len(self.errors)} of {total} {things} {how}; the others are done:\n  {lines}")


@contextlib.contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Around imports of packages that are optional.

    Raises:
        UserError: one of them is not installed. The line names it, and the extra of this package that brings it.
    """
    try:
        yield
    except ImportError as error:
        package = f'-e ".[{extra}]"' if _IS_CHECKOUT else f'"acfnet_tf[{extra}]"'
        raise UserError(f"{what} needs more packages ({error.name}): pip install {package}") from error


def first_line(error: BaseException) -> str:
    """What an error says, at most one line of it, or its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
