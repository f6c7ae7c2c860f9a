"""What REST and gRPC share: who computes, and how many bytes of requests there may be at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from acfnet_tf.config import ServeConfig
from acfnet_tf.serving.server.errors import RequestError, Status
from acfnet_tf.serving.server.versions import Versions

MIB = 2**20
BODY_SECONDS = 120.0
"""How long a client may take to send a request."""


class Core:
    """The model's versions, the threads that compute, and the room for requests.

    Its methods are for the thread of the event loop.

    Args:
        versions: the model.
        config: the limits.
    """

    def __init__(self, versions: Versions, config: ServeConfig) -> None:
        self.versions = versions
        self.max_request = config.max_request_mib * MIB
        self.free = config.max_waiting_mib * MIB
        self._threads = ThreadPoolExecutor(config.max_parallel, thread_name_prefix="predict")

    async def compute(self, function: Callable, *args: Any) -> Any:
        """Runs it in one of `max_parallel` threads. All that takes time or memory belongs there."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    @contextlib.contextmanager
    def room(self) -> Iterator[Room]:
        """Room for one request, free again after the block."""
        room = Room(self)
        try:
            yield room
        finally:
            self.free += room.taken

    def close(self) -> None:
        """Lets go of what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Room:
    """What one request takes of the bytes that requests may take together."""

    def __init__(self, core: Core) -> None:
        self.taken = 0
        self._core = core

    def check(self, size: int) -> None:
        """Raises RequestError where so many bytes more are too many for a request, or beside those of others."""
        if self.taken + size > self._core.max_request:
            limit = f"{self._core.max_request // MIB} MiB (serve.max_request_mib)"
            raise RequestError(Status.RESOURCE_EXHAUSTED, f"the request is larger than {limit}", http=413)
        if size > self._core.free:
            raise RequestError(Status.UNAVAILABLE, "too many requests are waiting: try again later")

    def take(self, size: int) -> None:
        """Takes bytes; raises as `check`."""
        self.check(size)
        self.taken += size
        self._core.free -= size
