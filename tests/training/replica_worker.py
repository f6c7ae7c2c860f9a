"""Trains the tiny experiment in a process of its own, as one of several workers or on virtual CPU devices.

Usage: replica_worker.py REPLICAS DATA_DIR RUNS

RUNS is a JSON list of runs, done one after the other, each an object of the arguments of `train_run`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from unittest import mock

import tensorflow as tf

SETTINGS = (
    # With seed 0 a rounding error opens a ReLU, after which weights differ by 2e-5; with others it is 2e-6 at most.
    "train.seed=1",
    # Large steps make a chaotic system of the first ones: rounding errors grow by orders of magnitude.
    "train.learning_rate=0.003",
    # Devices agree on what fits into the memory of each.
    "train.micro_batch=none",
    # At the start no pixel is that hard, so that the hardest third of the pixels is what bootstrapping keeps.
    "train.loss.ohem_threshold=0.001",
    "train.loss.ohem_min_kept=2000",
)
NOT_SYNCHRONIZED = {
    "local_statistics": "acfnet_tf.layers.norm.replica_sum",
    "local_bootstrapping": "acfnet_tf.losses.bootstrapping.replica_sum",
}
COMPILED = "compiled"
"""The mode of a run whose norms XLA compiles, as on GPUs."""


def train_run(
    data_dir: str, run_dir: str, settings: Sequence[str] = (), mode: str = "", sigterm_after: int | None = None
) -> None:
    """Trains one run.

    Args:
        data_dir: a tree of tiny scenes.
        run_dir: the run folder; continues what is there.
        settings: overrides, beside `SETTINGS`.
        mode: a key of `NOT_SYNCHRONIZED`, what every replica keeps to itself; or `COMPILED`.
        sigterm_after: the step after which a signal ends the run.
    """
    from acfnet_tf.errors import Stopped
    from acfnet_tf.train import train
    from tests.tiny import no_pictures, shallow_resnet, tiny_experiment

    with contextlib.ExitStack() as stack:
        stack.enter_context(shallow_resnet())
        stack.enter_context(no_pictures())
        if mode == COMPILED:
            stack.enter_context(mock.patch("acfnet_tf.training.step.pays", return_value=True))
        elif mode:
            stack.enter_context(mock.patch(NOT_SYNCHRONIZED[mode], lambda values: values))
        if sigterm_after:
            stack.enter_context(contextlib.suppress(Stopped))
            stack.enter_context(signal_after(sigterm_after))
        train(tiny_experiment("acf_aspp_ob", *SETTINGS, *settings), run_dir, data_dir)


@contextlib.contextmanager
def signal_after(step: int, number: int = signal.SIGTERM):
    """Sends this process a signal within the given step, when its row is written."""
    from acfnet_tf.training.run_folder import RunFolder

    log = RunFolder.log

    def log_then_signal(self: RunFolder, at: int, split: str, **values: float) -> None:
        log(self, at, split, **values)
        if at == step and split == "train":
            send_signal(number)

    with mock.patch.object(RunFolder, "log", log_then_signal):
        yield


def send_signal(number: int = signal.SIGTERM) -> None:
    """Sends this process a signal, and gives the thread that takes note of it the time to do so."""
    os.kill(os.getpid(), number)
    time.sleep(0.3)


def main(replicas: str, data_dir: str, runs: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))

    import acfnet_tf.train

    # A process can join its workers once; its runs share them.
    acfnet_tf.train.join_workers = functools.cache(acfnet_tf.train.join_workers)
    for run in json.loads(runs):
        train_run(data_dir, **run)


if __name__ == "__main__":
    main(*sys.argv[1:])
