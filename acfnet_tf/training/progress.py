"""The live line of a training run, and the same numbers as rows."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from acfnet_tf.config import TrainConfig
from acfnet_tf.heads import HEADS
from acfnet_tf.progress import ProgressBar
from acfnet_tf.training.optimizer import create_schedule

NUMBERS = ("total", *HEADS, "gradient_norm")
"""What a step may measure, by the names that `TrainStep` gives."""

COLUMNS = {"total": "loss"} | {head: f"loss_{head}" for head in HEADS}
"""What losses are called in metrics.csv."""


class Progress:
    """Step, losses, learning rate, images/s and time left, on a terminal or (less often) in a log.

    Speed and time left are those of training alone: the first step of a process, which builds the graph, and what is
    done in `paused` do not count.

    Attributes:
        sums: of `NUMBERS` over the steps since the last row, and the number of these steps, float64; to checkpoint, so
            that a row is the same whether the run was interrupted or not.
    """

    def __init__(self, name: str, config: TrainConfig, micro_steps: int, shown: bool = True) -> None:
        self.name, self.config, self.micro_steps, self.shown = name, config, micro_steps, shown
        self.schedule = create_schedule(config)
        self.sums = tf.Variable(np.zeros(len(NUMBERS) + 1), trainable=False)
        self.measured: list[str] = []
        self.interval = 0.5 if sys.stderr.isatty() else 20.0

    def start(self, first_step: int) -> None:
        """Begins the live line; an earlier part of the run has done `first_step` steps."""
        self.first_step = first_step
        self.bar = ProgressBar(
            desc=self.name,
            total=self.config.steps,
            initial=first_step,
            unit="step",
            mininterval=self.interval,
            dynamic_ncols=True,
            disable=not self.shown,
        )
        self.text = "first step builds the graph"
        self.bar.set_postfix_str(self.text)
        self.started, self.refreshed = self.bar.working_time(), time.monotonic()
        self.timed_steps = -1  # The first step is not timed.
        self.laps: list[float] = []

    def micro_step(self, done: int) -> None:
        """Shows that a long step is under way, `done` of its micro-batches being behind."""
        now = time.monotonic()
        due = now - self.refreshed > self.interval
        self.bar.set_postfix_str(f"{self.text}, next: {done}/{self.micro_steps} micro-batches", refresh=due)
        self.refreshed = now if due else self.refreshed

    def step(self, step: int, numbers: Mapping[str, float] | None) -> dict[str, float] | None:
        """Counts a step.

        Args:
            step: its number, from 1.
            numbers: what it measured, by names of `NUMBERS`; None for a step that was left out.

        Returns:
            Every `log_every` steps: means since the last row, learning rate, and speed if a step was timed.
        """
        if numbers is not None:
            self.sums.assign_add([*(numbers.get(name, 0.0) for name in NUMBERS), 1.0])
            self.measured = [name for name in NUMBERS if name in numbers]
        self.timed_steps += 1
        if self.timed_steps == 0:
            self.started = self.bar.working_time()
        self.bar.update()
        due = step % self.config.log_every == 0 or step == self.config.steps
        if step <= self.first_step + 3 or due or time.monotonic() - self.refreshed > self.interval:
            self._show(step)
        self._announce_duration()
        if not due:
            return None
        row = {COLUMNS.get(name, name): value for name, value in self._means().items()}
        row |= {"learning_rate": self._learning_rate(step)}
        row |= {"images_per_second": self._speed()} if self.timed_steps else {}
        self.sums.assign(np.zeros(len(NUMBERS) + 1))
        self.timed_steps, self.started = 0, self.bar.working_time()
        return row

    @staticmethod
    def write(text: str) -> None:
        """Prints lines above the live one."""
        ProgressBar.write(text)
        sys.stdout.flush()

    def _means(self) -> dict[str, float]:
        *sums, steps = self.sums.numpy().tolist()
        named = zip(NUMBERS, sums, strict=True)
        return {name: value / steps for name, value in named if steps and name in self.measured}

    def _learning_rate(self, step: int) -> float:
        """The one that step number `step`, counted from 1, was taken with."""
        return float(self.schedule(step - 1))

    def _speed(self) -> float:
        return self.timed_steps * self.config.batch_size / (self.bar.working_time() - self.started)

    def _show(self, step: int) -> None:
        means = self._means()
        heads = " ".join(f"{head} {means[head]:.3f}" for head in HEADS if head in means)
        loss = f"loss {means['total']:.3f} ({heads})" if means else "loss not finite"
        speed = f", {self._speed():.3g} images/s" if self.timed_steps else ""
        self.text = f"{loss}, lr {self._learning_rate(step):.4g}{speed}"
        self.bar.set_postfix_str(self.text)
        self.refreshed = time.monotonic()

    def _announce_duration(self) -> None:
        """Says, after the second step, how long all take: it is the first one that does not build the graph."""
        self.laps.append(self.bar.working_time())
        if len(self.laps) != 2 or not self.shown:
            return
        seconds = self.laps[1] - self.laps[0]
        total = seconds * self.config.steps
        duration = f"{total / 86400:.1f} days" if total > 172800 else f"{total / 3600:.1f} hours"
        duration = f"{total / 60:.0f} minutes" if total < 7200 else duration
        self.write(f"A step takes {seconds:.2f} s: {self.config.steps} steps take about {duration} on this machine.")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock around what is no training."""
        self.bar.clear()
        with self.bar.paused():
            yield

    def close(self) -> None:
        self.bar.close()
