"""Kills a tiny training again and again, and compares what becomes of it with a training that nobody disturbed.

python -m tests.training.chaos --workers=2 --kills=10 --seed=0

Trains once undisturbed, then once more in another folder, killing it by SIGKILL and starting it again by the same
command until it ends by itself. Kills hit while it starts, in a step, while a checkpoint is written and in a
validation, in an order and after delays that the seed decides; with several workers they hit one worker, or the
launcher. Final checkpoint, model and metrics.csv must be the same to the bit. The exit status is 1 where they are not.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.tiny import TINY_SETTINGS, write_tiny_scenes

ROOT = Path(__file__).parents[2]
EXPERIMENT = "acf_sum_small"
CHECKPOINT_EVERY, VALIDATE_EVERY = 2, 5
PHASES = ("start", "step", "checkpoint", "validation")
SECONDS_TO_END = 60
"""How long a training may live once one of its processes was killed."""


@dataclass(frozen=True)
class Kill:
    """One kill of the plan.

    Attributes:
        phase: of `PHASES`.
        step: that the training must have done before.
        delay: in [0, 1), of the time that the phase takes.
        target: "launcher" or the index of a worker.
    """

    phase: str
    step: int
    delay: float
    target: str


class Training:
    """The training in one run folder; `start` is always the same command.

    Args:
        run_dir: the run folder.
        data_dir: a tree of tiny scenes.
        workers: 1 for a process without a launcher.
        steps: of the whole training.
    """

    def __init__(self, run_dir: Path, data_dir: Path, workers: int, steps: int) -> None:
        self.run_dir, self.workers = run_dir, workers
        settings = (
            *TINY_SETTINGS, "train.loss.ohem=true", f"train.steps={steps}",
            f"train.checkpoint_every={CHECKPOINT_EVERY}", f"train.validate_every={VALIDATE_EVERY}",
        )  # fmt: skip
        self.command = [
            sys.executable,
            *(("-m", "acfnet_tf.launch", f"--workers={workers}", "--") if workers > 1 else ()),
            *("main.py", "--mode=train", f"--experiment={EXPERIMENT}", f"--run_dir={run_dir}"),
            *(f"--data_dir={data_dir}", *(f"--set={setting}" for setting in settings)),
        ]
        self.log = run_dir.with_name(f"{run_dir.name}.log")

    def start(self) -> None:
        with self.log.open("wb") as stream:  # of the newest process
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
            )

    def is_running(self) -> bool:
        return self.process.poll() is None

    def processes(self) -> dict[str, int]:
        """{"launcher" or index of the worker: pid}; a process without a launcher is worker "0"."""
        if self.workers == 1:
            return {"0": self.process.pid}
        started = re.findall(r"^Worker (\d+): pid (\d+)", self.output(), re.MULTILINE)
        return {"launcher": self.process.pid} | {index: int(pid) for index, pid in started}

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float | None = None) -> int:
        """Waits until every process is gone; returns the exit status."""
        status = self.process.wait(seconds)
        end = time.monotonic() + 5
        while any(map(is_alive, self.processes().values())):
            if time.monotonic() > end:
                raise TimeoutError(f"processes outlive their launcher: {self.processes()}")
            time.sleep(0.02)
        return status

    def rows(self) -> list[str]:
        """metrics.csv as it is at this moment, without what is still being written."""
        file = self.run_dir / "metrics.csv"
        return file.read_text().split("\n")[1:-1] if file.exists() else []

    def steps_done(self) -> int:
        return max((int(row.split(",")[0]) for row in self.rows()), default=0)

    def is_writing_checkpoint(self) -> bool:
        return any((self.run_dir / "checkpoints").glob(".step_*"))

    def has_begun_validation(self, step: int) -> bool:
        """Whether that of `step` is under way: it comes right after a checkpoint of its own."""
        return (self.run_dir / "checkpoints" / f"step_{step:08d}.npz").exists()

    def execute(self, kill: Kill, seconds_to_start: float) -> str | None:
        """Waits for its moment, then kills.

        Returns:
            What was hit, as text; None if the training ended before.
        """
        began = time.monotonic()
        if kill.phase == "start":
            moment = kill.delay * seconds_to_start
            self.wait_until(lambda: time.monotonic() - began > moment and kill.target in self.processes())
        else:
            self.wait_until(lambda: self.steps_done() >= kill.step)
        if kill.phase == "step":
            time.sleep(kill.delay * 0.2)
        if kill.phase == "checkpoint":
            self.wait_until(self.is_writing_checkpoint)
            time.sleep(kill.delay * 0.01)
        if kill.phase == "validation":
            step = self.steps_done() // VALIDATE_EVERY * VALIDATE_EVERY + VALIDATE_EVERY
            self.wait_until(lambda: self.has_begun_validation(step))
            time.sleep(kill.delay * 0.3)
        if not self.is_running():
            return None
        os.kill(self.processes()[kill.target], signal.SIGKILL)
        at = f"{time.monotonic() - began:.2f} s after its start, at step {self.steps_done()}"
        half = [file.name for file in self.run_dir.rglob("*") if re.match(r"\.(step_|model|best)", file.name)]
        return f"{at}, which left half of {' and '.join(half)}" if half else at

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for the condition, or the end of the training."""
        while self.is_running() and not condition():
            time.sleep(0.002)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def plan(kills: int, workers: int, steps: int, random_numbers: random.Random) -> list[Kill]:
    """Every phase in turn, in a random order; the steps ascend, so that every kill finds a training to hit."""
    phases = [phase for _ in range(0, kills, len(PHASES)) for phase in random_numbers.sample(PHASES, len(PHASES))]
    targets = [str(index) for index in range(workers)] + (["launcher"] if workers > 1 else [])
    room = (steps - 2 * VALIDATE_EVERY) / kills  # the last one must find its checkpoint or validation
    return [
        Kill(
            phase,
            1 + int(room * (i + random_numbers.random())),
            random_numbers.random(),
            random_numbers.choice(targets),
        )
        for i, phase in enumerate(phases[:kills])
    ]


def differences(disturbed: Path, whole: Path, steps: int) -> list[str]:
    """What is not the same in two run folders, as text."""
    found = []
    names = [sorted(file.name for file in (folder / "checkpoints").iterdir()) for folder in (disturbed, whole)]
    if names[0] != names[1]:
        found.append(f"checkpoints: {names[0]} and {names[1]}")
    final = Path("checkpoints") / f"step_{steps:08d}.npz"
    with np.load(disturbed / final) as a, np.load(whole / final) as b:
        if a.files != b.files:
            found.append(f"{final}: not the same arrays")
        found += [f"{final}: {name}" for name in b.files if a[name].tobytes() != b[name].tobytes()]
    for name in ("model.keras", "best.keras"):
        with zipfile.ZipFile(disturbed / name) as a, zipfile.ZipFile(whole / name) as b:
            if weights_in(a) != weights_in(b):
                found.append(f"{name}: the weights")
    rows = [without_speed(folder / "metrics.csv") for folder in (disturbed, whole)]
    expected = [
        [str(step), split]
        for step in range(1, steps + 1)
        for split in ("train", "val")
        if split == "train" or step % VALIDATE_EVERY == 0 or step == steps
    ]
    if [row[:2] for row in rows[0][1:]] != expected:
        found.append("metrics.csv: not every step once and in order")
    found += [f"metrics.csv: {a} and {b}" for a, b in zip(*rows, strict=False) if a != b]
    return found


def weights_in(model: zipfile.ZipFile) -> dict[str, bytes]:
    """Every array of a .keras file, by its path in there."""
    import h5py

    arrays: dict[str, bytes] = {}

    def collect(path: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[path] = node[()].tobytes()

    with model.open("model.weights.h5") as stream, h5py.File(stream, "r") as file:
        file.visititems(collect)
    return arrays


def without_speed(metrics: Path) -> list[list[str]]:
    rows = [line.split(",") for line in metrics.read_text(encoding="utf-8").splitlines()]
    speed = rows[0].index("images_per_second")
    return [row[:speed] + row[speed + 1 :] for row in rows]


def torment(folder: Path, workers: int, kills: int, steps: int, seed: int) -> list[str]:
    """Does what the module says.

    Args:
        folder: an empty one, for data and runs.
        workers: of the training.
        kills: how many must hit.
        steps: of the training.
        seed: of the moments.

    Returns:
        What was not as it must be; empty if all was well.
    """
    data = write_tiny_scenes(folder / "scenes")
    whole = Training(folder / "whole", data, workers, steps)
    began = time.monotonic()
    whole.start()
    whole.wait_until(lambda: whole.steps_done() > 0)
    seconds_to_start = time.monotonic() - began
    if status := whole.wait():
        return [f"the undisturbed training ended with status {status}:\n{whole.output()[-3000:]}"]
    print(f"Undisturbed: {time.monotonic() - began:.1f} s, {seconds_to_start:.1f} s of them to its first step.")

    training = Training(folder / "disturbed", data, workers, steps)
    hits, line = 0, ""
    for kill in [*plan(kills, workers, steps, random.Random(seed)), None]:
        training.start()
        hit = training.execute(kill, seconds_to_start) if kill else None
        try:
            status = training.wait(SECONDS_TO_END if kill else None)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            for pid in filter(is_alive, training.processes().values()):
                os.kill(pid, signal.SIGKILL)
            return [f"{kill}: {error}"]
        if line:
            continued = re.search(r"continues at step (\d+)", training.output())
            restart = f"continued at step {continued[1]}" if continued else "began anew, or was killed before it said"
            print(f"{line}; the restart {restart}.", flush=True)
        if hit is None:
            break
        hits += 1
        who = "launcher" if kill.target == "launcher" else f"worker {kill.target}"
        line = f"Kill {hits}: {kill.phase}, {who}, {hit}; exit status {status}"
    found = [] if status == 0 else [f"it ended with status {status}:\n{training.output()[-3000:]}"]
    if hits < kills:
        found.append(f"only {hits} kills hit")
    return found or differences(training.run_dir, whole.run_dir, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="of the training; 1 by default")
    parser.add_argument("--kills", type=int, default=10, help="how many must hit; 10 by default")
    parser.add_argument("--steps", type=int, default=80, help="of the training; 80 by default")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; 0 by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acfnet_chaos_") as folder:
        found = torment(Path(folder), arguments.workers, arguments.kills, arguments.steps, arguments.seed)
    if found:
        sys.exit("\n".join(["DIFFERENT:", *found]))
    print(f"The same: {arguments.kills} kills, {arguments.workers} workers, {arguments.steps} steps.")


if __name__ == "__main__":
    main()
