"""The live line of a training run, and the same numbers as rows."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from acfnet_tf.config import TrainConfig
from acfnet_tf.training.optimizer import create_schedule


class Progress:
    """Step, losses, learning rate, images/s and time left, on a terminal or (less often) in a log.

    Args:
        name: of the run.
        config: number of steps, global batch, how often a row is due.
        first_step: steps that an earlier part of the run has done.
        micro_steps: micro-batches of a step.
    """

    def __init__(self, name: str, config: TrainConfig, first_step: int, micro_steps: int) -> None:
        self.config, self.first_step, self.micro_steps = config, first_step, micro_steps
        self.schedule = create_schedule(config)
        self.interval = 0.5 if sys.stderr.isatty() else 20.0
        self.bar = tqdm(
            desc=name,
            total=config.steps,
            initial=first_step,
            unit="step",
            mininterval=self.interval,
            dynamic_ncols=True,
        )
        self.sums: dict[str, Any] = {}
        self.steps_in_sums = 0
        self.text = "first step builds the graph"
        self.bar.set_postfix_str(self.text)
        self.started = self.shown = time.monotonic()
        self.laps: list[float] = []

    def micro_step(self, done: int) -> None:
        """Shows that a long step is under way, `done` of its micro-batches being behind."""
        now = time.monotonic()
        due = now - self.shown > self.interval
        self.bar.set_postfix_str(f"{self.text}, next: {done}/{self.micro_steps} micro-batches", refresh=due)
        self.shown = now if due else self.shown
        self._announce_duration(now, self.micro_steps)

    def step(self, step: int, losses: dict[str, tf.Tensor]) -> dict[str, float] | None:
        """Counts a step. Returns the mean losses, rate and speed since the last row, every `log_every` steps."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in losses.items()}
        self.steps_in_sums += 1
        self.bar.update()
        due = step % self.config.log_every == 0 or step == self.config.steps
        if step <= self.first_step + 3 or due or time.monotonic() - self.shown > self.interval:
            self._show(step)
        if self.micro_steps == 1:
            self._announce_duration(time.monotonic(), 1)
        if not due:
            return None
        now = time.monotonic()
        row = {("loss" if name == "total" else f"loss_{name}"): value for name, value in self._means().items()}
        row["learning_rate"] = self._learning_rate(step)
        row["images_per_second"] = self.steps_in_sums * self.config.batch_size / (now - self.started)
        self.sums, self.steps_in_sums, self.started = {}, 0, now
        return row

    def _means(self) -> dict[str, float]:
        return {name: float(value) / self.steps_in_sums for name, value in self.sums.items()}

    def _learning_rate(self, step: int) -> float:
        """The one that step number `step`, counted from 1, was taken with."""
        return float(self.schedule(step - 1))

    def _show(self, step: int) -> None:
        means = self._means()  # waits for the step
        now = time.monotonic()
        speed = self.steps_in_sums * self.config.batch_size / (now - self.started)
        heads = " ".join(f"{name} {value:.3f}" for name, value in means.items() if name != "total")
        self.text = f"loss {means['total']:.3f} ({heads}), lr {self._learning_rate(step):.4g}, {speed:.3g} images/s"
        self.bar.set_postfix_str(self.text)
        self.shown = now

    def _announce_duration(self, now: float, laps_of_a_step: int) -> None:
        """After the second lap (step or micro-batch), which is the first that does not build the graph."""
        self.laps.append(now)
        if len(self.laps) != 2:
            return
        seconds = (self.laps[1] - self.laps[0]) * laps_of_a_step
        total = seconds * self.config.steps
        duration = f"{total / 86400:.1f} days" if total > 172800 else f"{total / 3600:.1f} hours"
        duration = f"{total / 60:.0f} minutes" if total < 7200 else duration
        self.bar.write(
            f"A step takes {seconds:.2f} s: {self.config.steps} steps take about {duration} on this machine.",
            file=sys.stdout,
        )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is no training: it is not counted as such."""
        self.bar.clear()
        before = time.monotonic()
        yield
        self.started += time.monotonic() - before

    def close(self) -> None:
        self.bar.close()
