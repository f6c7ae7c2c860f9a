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
    """

    def __init__(self, versions: Versions, config: ServeConfig) -> None:
        self.versions = versions
        self.max_request = config.max_request_mib * MIB
        self._free = config.max_waiting_mib * MIB
        self._threads = ThreadPoolExecutor(config.max_parallel, thread_name_prefix="predict")

    async def compute(self, function: Callable, *args: Any) -> Any:
        """Runs it in one of `max_parallel` threads. All that takes time or memory belongs there."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def check(self, taken: int, size: int) -> None:
        """Sees that a request that has taken some bytes may have so many more.

        Raises:
            RequestError: they are too many for one request, or beside those of others.
        """
        if taken + size > self.max_request:
            limit = f"{self.max_request // MIB} MiB (serve.max_request_mib)"
            raise RequestError(Status.RESOURCE_EXHAUSTED, f"the request is larger than {limit}", http=413)
        if size > self._free:
            raise RequestError(Status.UNAVAILABLE, "too many requests are waiting: try again later")

    @contextlib.contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes bytes for one request; it raises as `check`. After the block they are free."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self.check(taken, size)
            taken += size
            self._free -= size

        try:
            yield take
        finally:
            self._free += taken

    def close(self) -> None:
        """Lets go of what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
