"""Starts several workers of one training on this machine, as a scheduler starts one on each of several machines.

python -m acfnet_tf.launch --workers=2 -- main.py --mode=train --experiment=acf_aspp_small

Every worker runs the command with a TF_CONFIG of its own; main.py gets --set=train.strategy=multi_worker, and so does
the installed command, named by its path: -- $(which acfnet_tf) --mode=train. Worker 0 writes here, every other worker
to a log file. The GPUs of this machine, or those that CUDA_VISIBLE_DEVICES names, are shared out evenly; where it is
"" there are none. When one worker fails, all end; SIGTERM and Ctrl-C reach all of them. The exit status is that of the
first worker that fails, otherwise that of worker 0; 128 + the number for a signal.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SECONDS_ALONE, SECONDS_AFTER_SIGTERM = 5, 10
"""What the other workers have, once one has failed: first to end by themselves, and then to follow SIGTERM."""

CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs which CUDA, and so TensorFlow, may use."""

LOG_LINES = 20
PR_SET_PDEATHSIG = 1


def launch(command: list[str], count: int, gpus: Sequence[str] = ()) -> int:
    """Runs `count` workers until all have ended. To be called in the main thread, whose signal handlers it sets.

    Args:
        command: arguments of the Python interpreter: a script or "-m" and a module, then its arguments.
        count: the number of workers.
        gpus: as CUDA_VISIBLE_DEVICES names them; a multiple of `count`. Every worker sees its share only.

    Returns:
        The exit status; see the module.
    """
    pending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: pending.append(number))
    with tempfile.TemporaryDirectory(prefix="acfnet_workers_") as folder:
        logs = [Path(folder) / f"worker_{index}.log" for index in range(count)]
        return _watch(_start(command, logs, gpus), logs, pending)


def visible_gpus() -> list[str]:
    """The GPUs that a program started here may use, as CUDA_VISIBLE_DEVICES names them: numbers, UUIDs, MIG devices."""
    if CUDA_VISIBLE_DEVICES in os.environ:
        names = [name.strip() for name in os.environ[CUDA_VISIBLE_DEVICES].split(",")]
        # CUDA reads them up to the first that is none, such as -1.
        return list(itertools.takewhile(re.compile(r"\d+$|GPU-|MIG-").match, names))
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    except OSError:  # There is no driver.
        return []
    return re.findall(r"^\d+$", listed, re.MULTILINE)  # Everything else it may print is a failure.


def _start(command: list[str], logs: list[Path], gpus: Sequence[str]) -> list[subprocess.Popen]:
    """Starts one worker per log file; the first has no use for its own."""
    if Path(command[0]).name in ("main.py", "acfnet_tf"):  # the program, and how it is called when it is installed
        command = [*command, "--set=train.strategy=multi_worker"]
    with contextlib.ExitStack() as stack:
        # All ports before any is free again, so that they differ.
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in logs]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    launcher = os.getpid()

    def die_with_launcher() -> None:
        """Runs in the worker: SIGKILL on the death of the launcher, which cannot forward a SIGKILL of its own."""
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(128 + signal.SIGKILL)

    workers = []
    size = len(gpus) // len(logs)
    shares = [",".join(gpus[index * size : (index + 1) * size]) for index in range(len(logs))]
    if gpus:
        _say(f"GPUs: {'; '.join(f'{share} for worker {index}' for index, share in enumerate(shares))}.")
    for index, log in enumerate(logs):
        visible = {CUDA_VISIBLE_DEVICES: shares[index]} if gpus else {}
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        with log.open("wb") as stream:
            worker = subprocess.Popen(
                [sys.executable, *command],
                # Unbuffered: what a worker said before it was killed is in its log.
                env={**os.environ, **visible, "TF_CONFIG": json.dumps(task), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stream if index else None,
                stderr=stream if index else None,
                start_new_session=True,
                preexec_fn=die_with_launcher if prctl else None,
            )
        workers.append(worker)
        _say(f"Worker {index}: pid {worker.pid}{f', output in {log}' if index else ''}.")
    return workers


def _watch(workers: list[subprocess.Popen], logs: list[Path], pending: list[int]) -> int:
    """Passes the pending signals on, and ends all workers after a failure; returns the exit status."""
    running = dict(enumerate(workers))
    sent: set[int] = set()
    failure: int | None = None
    due: list[tuple[float, int]] = []
    while running:
        for index, worker in list(running.items()):
            if worker.poll() is None:
                continue
            del running[index]
            status = _status(worker)
            # A worker that ends by a signal it was sent does as it was told.
            if status == 0 or status - 128 in sent:
                continue
            how = f"status {status}" if worker.returncode > 0 else signal.Signals(-worker.returncode).name
            _say(f"Worker {index} (pid {worker.pid}) ended with {how}.")
            if index:
                lines = logs[index].read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
                _say("\n".join([f"The last lines of worker {index}:", *lines]))
            # After a signal from outside all are ending anyway, each in its time.
            if failure is None and not sent:
                failure = status
                now = time.monotonic()
                due = [
                    (now + SECONDS_ALONE, signal.SIGTERM),
                    (now + SECONDS_ALONE + SECONDS_AFTER_SIGTERM, signal.SIGKILL),
                ]
        while due and time.monotonic() >= due[0][0]:
            pending.append(due.pop(0)[1])
        while pending and running:
            number = pending.pop(0)
            sent.add(number)
            _say(f"{signal.Signals(number).name} to workers {', '.join(map(str, running))}.")
            for worker in running.values():
                worker.send_signal(number)
        time.sleep(0.05)
    return _status(workers[0]) if failure is None else failure


def _status(worker: subprocess.Popen) -> int:
    """The exit status as a shell shows it."""
    return worker.returncode if worker.returncode >= 0 else 128 - worker.returncode


def _say(text: str) -> None:
    # Without the terminal that showed it, the workers still have to be watched.
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        # A mistake is one line, without the usage.
        usage=argparse.SUPPRESS,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, default=2, help="how many; 2 by default")
    parser.add_argument("command", nargs="*", help="script, or -m and a module, with its arguments, after --")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error(f"--workers={arguments.workers}: at least 1")
    if not arguments.command:
        parser.error("no command; for example: --workers=2 -- main.py --mode=train --experiment=acf_aspp_small")
    script = arguments.command[0]
    if not script.startswith("-") and not Path(script).exists():
        parser.error(f"no script {script}")
    gpus = visible_gpus()
    if len(gpus) % arguments.workers:
        fitting = [str(count) for count in range(1, len(gpus) + 1) if len(gpus) % count == 0]
        parser.error(
            f"--workers={arguments.workers}: {len(gpus)} GPUs ({','.join(gpus)}) cannot be shared out evenly; take "
            f'--workers={" or ".join(fitting)}, or set {CUDA_VISIBLE_DEVICES} to other GPUs, or to "" for none'
        )
    sys.exit(launch(arguments.command, arguments.workers, gpus))


if __name__ == "__main__":
    from acfnet_tf.console import console

    with console():
        main()
