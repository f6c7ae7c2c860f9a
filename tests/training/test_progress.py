"""The live line's numbers, under a clock that the test moves."""

from __future__ import annotations

import time

import pytest

from acfnet_tf.config import TrainConfig
from acfnet_tf.progress import ProgressBar
from acfnet_tf.training.progress import Progress


@pytest.fixture
def work(monkeypatch):
    """Lets so many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def work(seconds):
        now[0] += seconds

    return work


def started(first_step=0, micro_steps=1, **settings):
    progress = Progress("run", TrainConfig(steps=100, batch_size=8, **settings), micro_steps)
    progress.start(first_step)
    return progress


def seconds_left(bar):
    return (bar.total - bar.n) / bar.format_dict["rate"]


@pytest.mark.parametrize("first_step", [0, 40])
def test_the_first_step_and_pauses_count_in_no_speed(first_step, work, capfd):
    progress = started(first_step, log_every=1)
    work(62.9)
    row = progress.step(first_step + 1, {"total": 1.0})
    assert "images_per_second" not in row and row["loss"] == 1.0
    assert progress.bar.format_dict["rate"] == 0  # nothing is known
    for step in range(2, 6):
        with progress.paused():  # a checkpoint, a validation
            work(1000)
        work(0.5)
        row = progress.step(first_step + step, {"total": 1.0})
        assert row["images_per_second"] == pytest.approx(16)
        assert seconds_left(progress.bar) == pytest.approx(0.5 * (100 - first_step - step))
    assert "16 images/s" in progress.text
    progress.close()
    printed = capfd.readouterr()
    assert "A step takes 0.50 s: 100 steps take about 1 minutes on this machine." in printed.out + printed.err


def test_a_row_of_several_steps_is_timed_without_the_first(work):
    progress = started(log_every=5)
    work(60)
    for step in range(1, 11):
        work(2)
        row = progress.step(step, None)
        if row:
            assert row["images_per_second"] == pytest.approx(4)
    assert seconds_left(progress.bar) == pytest.approx(180)
    progress.close()


def test_micro_batches_announce_the_step_without_the_first_of_them(work, capfd):
    progress = started(micro_steps=4, log_every=1)
    work(60)
    for done in range(1, 5):
        work(3)
        progress.micro_step(done)
    progress.step(1, {"total": 1.0})
    for done in range(1, 5):
        work(3)
        progress.micro_step(done)
    assert progress.step(2, {"total": 1.0})["images_per_second"] == pytest.approx(8 / 12)
    progress.close()
    printed = capfd.readouterr()
    assert "A step takes 12.00 s: 100 steps take about 20 minutes" in printed.out + printed.err


def test_a_bar_over_images_leaves_the_first_out(work, capfd):
    bar = ProgressBar(range(10), "Evaluating", mininterval=0)
    for index in bar:
        if index == 7:
            assert seconds_left(bar) == pytest.approx(0.5 * 3)
        work(30 if index == 0 else 0.5)
    assert bar.rate() == pytest.approx(2)
    assert list(ProgressBar(range(3), disable=True)) == [0, 1, 2]
