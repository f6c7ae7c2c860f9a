"""Of the command line: one training in a folder, SIGTERM, SIGKILL, a full disk."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acfnet_tf.errors import Stopped, UserError
from acfnet_tf.train import train
from tests.tiny import TINY_SETTINGS, tiny_experiment
from tests.training.replica_worker import signal_after

ROOT = Path(__file__).parents[2]


def command(run_dir: Path, data_dir: Path, *settings: str) -> list[str]:
    """Of a training that would take long, from the command line."""
    assignments = (*TINY_SETTINGS, "train.steps=100000", "train.checkpoint_every=2", *settings)
    arguments = ["--mode=train", "--experiment=acf_sum_small", f"--run_dir={run_dir}", f"--data_dir={data_dir}"]
    return [sys.executable, "main.py", *arguments, *(f"--set={assignment}" for assignment in assignments)]


@pytest.fixture
def start(tiny_scenes, tmp_path):
    """Starts such a training in `tmp_path`, and waits until it has a new checkpoint."""
    processes = []

    def start() -> subprocess.Popen:
        before = set((tmp_path / "checkpoints").glob("step_*.npz"))
        pipe = subprocess.PIPE
        process = subprocess.Popen(command(tmp_path, tiny_scenes), cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        processes.append(process)
        while not set((tmp_path / "checkpoints").glob("step_*.npz")) - before:
            assert process.poll() is None, process.stderr.read()[-3000:]
            time.sleep(0.02)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1].split("\r")[-1]


def newest_checkpoint(run_dir: Path) -> int:
    return max(int(file.name[5:13]) for file in (run_dir / "checkpoints").glob("step_*"))


def test_from_the_command_line_one_at_a_time_sigterm_and_sigkill(start, tiny_scenes, tmp_path, capfd):
    experiment = tiny_experiment("acf_sum", "train.steps=100000", "train.checkpoint_every=2")
    process = start()
    with pytest.raises(UserError, match=rf"process {process.pid} on .* trains in this folder"):
        train(experiment, tmp_path, str(tiny_scenes))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in out + err
    step = newest_checkpoint(tmp_path)
    message = f"SIGTERM: stopped after step {step}, with a checkpoint in {tmp_path}. The same command continues there."
    assert last_line(err) == message

    process = start()
    process.kill()
    out, _ = process.communicate()
    assert f"continues at step {step} of 100000" in out
    step = newest_checkpoint(tmp_path)
    with signal_after(step + 1), pytest.raises(Stopped):
        train(experiment, tmp_path, str(tiny_scenes))
    assert f"continues at step {step} of 100000" in capfd.readouterr().out


def small_disk(folder: Path, kilobytes: int) -> list[str]:
    """What to put before a command so that it finds a disk of this size mounted on the folder; or skips the test."""
    mount = ("sh", "-c", f'mount -t tmpfs -o size={kilobytes}k none "{folder}" && exec "$@"', "sh")
    for namespace in (("unshare", "--user", "--map-root-user", "--mount"), ("unshare", "--mount")):
        prefix = [*namespace, *mount]
        if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
            return prefix
    pytest.skip("this machine does not let the test mount a small disk")


ON_A_SMALL_DISK = """
import subprocess, sys, pathlib
process = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL)
print(*sorted(file.name for file in pathlib.Path(sys.argv[1]).rglob("*.npz")))
sys.exit(process.returncode)
"""
"""Runs a command and lists its checkpoints, which nobody sees once the disk is gone."""


# A checkpoint has 484 kB, and a model as much; every validation adds pictures to TensorBoard's file.
@pytest.mark.parametrize(
    ("kilobytes", "validate_every", "message", "checkpoints"),
    [
        (32, 50_000, "Error: cannot write into {run_dir}/tensorboard: No space left on device", ""),
        (
            700,
            2,
            "Error: cannot write {run_dir}/best.keras: No space left on device",
            "step_00000002.npz",
        ),  # best.keras
        (
            2200,
            2,
            "Error: cannot write checkpoint {run_dir}/checkpoints/step_00000006.npz: No space left on device. The "
            "checkpoint before it is intact: {run_dir}/checkpoints/step_00000004.npz; the same command continues from "
            "there.",
            "step_00000002.npz step_00000004.npz",
        ),
    ],
)
def test_a_full_disk_is_one_line(tiny_scenes, tmp_path, kilobytes, validate_every, message, checkpoints):
    run_dir = tmp_path / "run"
    every = (f"train.validate_every={validate_every}", f"train.checkpoint_every={validate_every}")
    run = command(run_dir, tiny_scenes, *every)
    watch = [sys.executable, "-c", ON_A_SMALL_DISK, str(run_dir), *run]
    process = subprocess.run([*small_disk(tmp_path, kilobytes), *watch], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert last_line(process.stderr) == message.format(run_dir=run_dir)
    assert process.stdout.split() == checkpoints.split()
