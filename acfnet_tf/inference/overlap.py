"""Reading while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Content = TypeVar("Content")


def read_ahead(read: Callable[[Item], Content], items: Sequence[Item]) -> Iterator[Content]:
    """`read(item)` of each; the next one is read in a thread while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = None
        for item in items:
            content, following = following, reader.submit(read, item)
            if content is not None:
                yield content.result()
        if following is not None:
            yield following.result()
