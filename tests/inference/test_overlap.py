"""Reading, computing and finishing go on at the same time, in order; what goes wrong with one item stays with it."""

from __future__ import annotations

import threading

import pytest

from acfnet_tf.errors import UserError
from acfnet_tf.failures import Failures
from acfnet_tf.inference.overlap import overlapped


def refuse(bad: int, item: int) -> int:
    if item == bad:
        raise UserError(f"no {bad}")
    return item


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_item_is_finished_in_order(count):
    done = []
    overlapped(
        range(count), str, lambda text: text * 2, lambda *one: done.append(one), title="Counting", progress=False
    )
    assert done == [(item, str(item), str(item) * 2) for item in range(count)]


def test_the_next_is_read_and_the_last_finished_while_one_is_computed():
    events = {name: threading.Event() for name in ("read 2", "finishes 0")}

    def read(item: int) -> int:
        if item == 2:
            events["read 2"].set()
        return item

    def compute(item: int) -> int:
        if item == 1:
            assert all(event.wait(timeout=30) for event in events.values())
        return item

    def finish(item: int, *_: int) -> None:
        if item == 0:
            events["finishes 0"].set()

    overlapped(range(3), read, compute, finish, title="Counting", progress=False)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_bad_item_stops_all_or_is_gathered(stage):
    done = []

    def finish(item: int, *_: int) -> None:
        refuse(1 if stage == 2 else -1, item)
        done.append(item)

    def run(**options: object) -> None:
        stages = [lambda item, bad=1 if stage == number else -1: refuse(bad, item) for number in range(2)]
        overlapped(range(4), *stages, finish, title="Counting", progress=False, **options)

    with pytest.raises(UserError, match="no 1"):
        run()
    assert 3 not in done
    done.clear()
    failures = Failures()
    run(guarded=failures.of_one)
    assert done == [0, 2, 3] and [str(error) for error in failures.errors] == ["no 1"]


def test_the_rest_is_left_out_when_told_to_stop():
    done = []
    overlapped(
        range(9), int, int, lambda item, *_: done.append(item), title="Counting", progress=False, stop=lambda: True
    )
    assert done == [0]
