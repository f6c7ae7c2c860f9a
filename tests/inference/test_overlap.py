"""Reading ahead keeps the order, and says what went wrong where it went wrong."""

from __future__ import annotations

import threading

import pytest

from acfnet_tf.inference.overlap import read_ahead


def test_order_and_errors():
    def read(item: int) -> int:
        if item == 3:
            raise OSError("three")
        return item

    assert list(read_ahead(read, [0, 1, 2])) == [0, 1, 2]
    assert list(read_ahead(read, [])) == []
    contents = read_ahead(read, [0, 3, 5])
    assert next(contents) == 0
    with pytest.raises(OSError, match="three"):
        next(contents)


def test_the_next_is_read_while_the_caller_works():
    second_read = threading.Event()

    def read(item: int) -> int:
        if item == 1:
            second_read.set()
        return item

    contents = read_ahead(read, [0, 1])
    assert next(contents) == 0
    assert second_read.wait(timeout=30)
