"""Work on many images in which reading, computing and writing go on at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from acfnet_tf.progress import ProgressBar

Item = TypeVar("Item")
Content = TypeVar("Content")
Result = TypeVar("Result")


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Content],
    compute: Callable[[Content], Result],
    finish: Callable[[Item, Content, Result], object],
    *,
    title: str,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
    guarded: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """For every item `finish(item, content, compute(content))`, where `content = read(item)`.

    While one is computed, the next is read in a thread and the last one is finished in another; never more than these
    are in memory.

    Args:
        title: of the progress bar.
        stop: asked after every item whether to leave out the rest.
        guarded: a context around the work on each item, which may swallow the errors of one.
    """
    finishing: list[Future] = []

    def await_last() -> None:
        with guarded():
            if finishing:
                finishing.pop().result()

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as finisher:
        following = [reader.submit(read, item) for item in items[:1]]
        for index, item in enumerate(ProgressBar(items, title, unit="image", disable=not progress), start=1):
            reading = following.pop()
            following += [reader.submit(read, each) for each in items[index : index + 1]]
            with guarded():
                content = reading.result()
                result = compute(content)
                await_last()
                finishing.append(finisher.submit(finish, item, content, result))
            if stop():
                break
        await_last()
