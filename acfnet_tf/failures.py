"""One bad image does not stop the others: what fails is gathered, and said at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from acfnet_tf.errors import DataError, UserError


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
