"""What benchmarks share: each side of a comparison is a process of its own, and they take turns."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
console = runpy.run_path(str(ROOT / "acfnet_tf" / "console.py"))["console"]  # without the package, nor TensorFlow
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
# As acfnet_tf does, before or without which some sides import TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
QUIET = 0.05
"""A round counts as quiet below this share of other programs: PyTorch's threads suffer far more from them than ours."""


def count(text: str, least: int = 1) -> int:
    """A flag that is a number of things."""
    if int(text) < least:
        raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
    return int(text)


def count_or_none(text: str) -> int:
    """A flag that is a number of things, of which there may be none."""
    return count(text, 0)


class Worker:
    """The process of one side: a script that calls `take_turns`.

    Attributes:
        about: what it said of itself.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [sys.executable, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.about = self._answer()

    def step(self) -> dict[str, Any]:
        """Has it take one turn: {"seconds": …, "peak": bytes} and whatever the turn gave."""
        print("step", file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args)} ended with status {self.process.wait()}")
        return json.loads(line)


def take_turns(start: Callable[[], tuple[dict[str, Any], Callable[[], dict[str, Any]]]]) -> None:
    """The worker's part: a line of JSON when ready, then one for each line read.

    Args:
        start: gives what `Worker.about` is to say, and the function that is timed.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes elsewhere
    about, step = start()
    print(json.dumps(about), file=answers, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        result = step()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "peak": peak_bytes(), **result}), file=answers, flush=True)


def peak_bytes() -> int:
    """Peak resident memory of this process.

    Linux counts from the peak of the process that started it: let that one import little.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def other_seconds(workers: Iterable[Worker]) -> float:
    """Processor time that was not idle and not the workers', since the machine started."""
    import psutil  # not on top: a Python that has PyTorch only is without it

    times = psutil.cpu_times()
    own = [psutil.Process(worker.process.pid).cpu_times() for worker in workers]
    busy = sum(times[:8]) - times.idle - getattr(times, "iowait", 0.0)
    return busy - sum(process.user + process.system for process in own)
