"""Bars whose time left can be believed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm


class ProgressBar(tqdm):
    """tqdm's bar, but speed and time left are those from the first item on, and without pauses.

    The first item builds a graph or fills a cache: on a GPU it takes a hundred times as long as each of the others.
    """

    _started: float | None = None
    _paused = 0.0

    def update(self, n: float | None = 1) -> bool | None:
        if self._started is None:
            # The clock starts before the first item is shown, and that item does not count: until the second one there
            # is no speed.
            self._started, self._first = self.working_time(), self.n + n
        return super().update(n)

    @property
    def format_dict(self) -> dict[str, Any]:
        return super().format_dict | {"rate": self.rate()}

    def rate(self) -> float:
        """Items in a second of `working_time`; 0 as long as that is not known."""
        seconds = 0.0 if self._started is None else self.working_time() - self._started
        return (self.n - self._first) / seconds if seconds > 0 else 0.0

    def working_time(self) -> float:
        """A clock in seconds that stands still during pauses."""
        return time.monotonic() - self._paused

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock around what is not to be counted."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._paused += time.monotonic() - begun
