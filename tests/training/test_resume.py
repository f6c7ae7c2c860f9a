"""A run that was stopped and continued, in whatever way, ends like one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from acfnet_tf.errors import ConfigError, Stopped, UserError
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.train import train
from acfnet_tf.training.run_folder import RunFolder
from tests.tiny import TINY_SETTINGS, tiny_experiment
from tests.training.replica_worker import send_signal, signal_after

ROOT = Path(__file__).parents[2]
WHOLE = tiny_experiment(
    "acf_aspp_ob", "train.steps=6", "train.checkpoint_every=2", "train.validate_every=3", "train.ema_momentum=0.9"
)


class Killed(Exception):
    pass


def weights_of(model_file):
    return [weight.numpy() for weight in keras.models.load_model(model_file).weights]


def metrics_of(run_dir):
    """metrics.csv without the measured speed."""
    rows = [line.split(",") for line in (run_dir / "metrics.csv").read_text().splitlines()]
    speed = rows[0].index("images_per_second")
    return [row[:speed] + row[speed + 1 :] for row in rows]


def checkpoints_of(run_dir):
    return sorted(file.name for file in (run_dir / "checkpoints").iterdir())


def assert_same_run(run_dir, whole):
    """To the bit: the final checkpoint, with momenta and averages, the models, the metrics."""
    assert checkpoints_of(run_dir) == checkpoints_of(whole)
    final = Path("checkpoints", "step_00000006.npz")
    with np.load(run_dir / final) as arrays, np.load(whole / final) as expected:
        assert arrays.files == expected.files
        for name in expected.files:
            assert arrays[name].tobytes() == expected[name].tobytes(), name
    for model in ("model.keras", "best.keras"):
        for a, b in zip(weights_of(run_dir / model), weights_of(whole / model), strict=True):
            np.testing.assert_array_equal(a, b)
    assert metrics_of(run_dir) == metrics_of(whole)


@pytest.fixture(scope="module")
def whole(tiny_scenes, tmp_path_factory):
    """The folder of `WHOLE`, undisturbed."""
    run_dir = tmp_path_factory.mktemp("whole")
    train(WHOLE, run_dir, str(tiny_scenes))
    return run_dir


@pytest.fixture(scope="module")
def killed(tiny_scenes, tmp_path_factory):
    """The folder of `WHOLE`, ended in step 5 as if by a kill: it has checkpoints of steps 2, 3 and 4."""
    run_dir = tmp_path_factory.mktemp("killed")
    log = RunFolder.log

    def log_then_end(self, step, split, **values):
        log(self, step, split, **values)
        if step == 5:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "log", log_then_end)
        with pytest.raises(Killed):
            train(WHOLE, run_dir, str(tiny_scenes))
    return run_dir


def test_a_killed_run_loses_the_steps_since_its_last_checkpoint_only(whole, killed, tiny_scenes, tmp_path, capfd):
    assert checkpoints_of(killed) == ["step_00000002.npz", "step_00000003.npz", "step_00000004.npz"]
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    train(WHOLE, tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert "continues at step 4 of 6" in printed
    assert "has changed" not in printed
    assert_same_run(tmp_path, whole)


def test_a_run_that_continues_on_other_data_says_so(killed, tiny_scenes, tmp_path, capfd):
    run_dir, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(killed, run_dir)
    shutil.copytree(tiny_scenes, data)
    for file in [*data.glob("leftImg8bit/train/*/*_000001_*"), *data.glob("gtFine/train/*/*_000001_*")]:
        shutil.copy(file, file.with_name(file.name.replace("_000001_", "_000077_")))
    train(WHOLE, run_dir, str(data))
    line = "The split train has changed since: 1 samples more (streetville_000077_000019). After step 4, samples come"
    assert line in capfd.readouterr().out
    assert json.loads((run_dir / "samples.json").read_text())["train"][-1] == "streetville_000077_000019"


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(whole, killed, tiny_scenes, tmp_path, capfd):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "step_00000004.npz"
    os.truncate(newest, newest.stat().st_size // 2)
    train(WHOLE, tmp_path, str(tiny_scenes))
    printed = capfd.readouterr().out
    assert f"Checkpoint {newest} is damaged (cut short or changed" in printed
    assert "it is now step_00000004.npz.damaged; continuing from the one before" in printed
    assert "continues at step 3 of 6" in printed
    newest.with_name("step_00000004.npz.damaged").unlink()
    assert_same_run(tmp_path, whole)


def test_sigterm_leaves_a_checkpoint_of_the_step_that_was_running(whole, tiny_scenes, tmp_path, capfd):
    with signal_after(5), pytest.raises(Stopped, match="SIGTERM: stopped after step 5") as stopped:
        train(WHOLE, tmp_path, str(tiny_scenes))
    assert stopped.value.status == 143
    assert checkpoints_of(tmp_path)[-1] == "step_00000005.npz"
    train(WHOLE, tmp_path, str(tiny_scenes))
    assert "continues at step 5 of 6" in capfd.readouterr().out
    # The checkpoint that it wrote when it was told to end is one of the newest three.
    (tmp_path / "checkpoints" / "step_00000005.npz").unlink()
    shutil.copy(whole / "checkpoints" / "step_00000003.npz", tmp_path / "checkpoints")
    assert_same_run(tmp_path, whole)


def test_a_validation_that_sigterm_cuts_short_is_done_by_the_next_run(whole, tiny_scenes, tmp_path, monkeypatch):
    labels, validated_at = Predictor.labels, []

    def label_then_signal(self, image):
        validated_at.append(len(metrics_of(tmp_path)) - 1)
        if len(validated_at) == 1:
            send_signal(signal.SIGTERM)
        return labels(self, image)

    monkeypatch.setattr(Predictor, "labels", label_then_signal)
    with pytest.raises(Stopped, match="SIGTERM: stopped after step 3") as stopped:
        train(WHOLE, tmp_path, str(tiny_scenes))
    assert stopped.value.status == 143
    assert validated_at == [3], "it went on to the next image"
    assert checkpoints_of(tmp_path)[-1] == "step_00000003.npz"
    assert [row[:2] for row in metrics_of(tmp_path)[1:]] == [["1", "train"], ["2", "train"], ["3", "train"]]
    train(WHOLE, tmp_path, str(tiny_scenes))
    assert validated_at[1] == 3, "it trained before it validated"
    assert_same_run(tmp_path, whole)


def test_the_checkpoint_of_the_best_validation_is_kept(tiny_scenes, tmp_path, monkeypatch):
    scores = {1: 0.2, 2: 0.4}  # step 2 is the best
    monkeypatch.setattr(ConfusionMatrix, "mean_iou", lambda _: scores.get(len(metrics_of(tmp_path)) // 2, 0.1))
    experiment = tiny_experiment("acf_sum", "train.steps=8", "train.checkpoint_every=1", "train.validate_every=1")
    with signal_after(6), pytest.raises(Stopped):
        train(experiment, tmp_path, str(tiny_scenes))
    train(experiment, tmp_path, str(tiny_scenes))  # which has not seen the best one
    assert checkpoints_of(tmp_path) == [f"step_{step:08d}.npz" for step in (2, 6, 7, 8)]
    best = {weight.path: weight.numpy() for weight in keras.models.load_model(tmp_path / "best.keras").weights}
    with np.load(tmp_path / "checkpoints" / "step_00000002.npz") as arrays:
        for path, weight in best.items():
            np.testing.assert_array_equal(weight, arrays[path])


def test_finished_run_is_left_as_it_is(whole, tiny_scenes, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    train(WHOLE, tmp_path, str(tiny_scenes))
    assert_same_run(tmp_path, whole)


def test_a_folder_of_another_experiment_is_refused(tiny_scenes, tmp_path):
    train(tiny_experiment("acf_sum", "train.steps=1"), tmp_path, str(tiny_scenes))
    with pytest.raises(ConfigError, match="holds a run of experiment 'acf_sum_small', not of 'acf_concat_small'"):
        train(tiny_experiment("acf_concat", "train.steps=1"), tmp_path, str(tiny_scenes))
    with pytest.raises(ConfigError, match=r"train.learning_rate was 0\.\d+, is now 0\.5"):
        train(tiny_experiment("acf_sum", "train.steps=1", "train.learning_rate=0.5"), tmp_path, str(tiny_scenes))
    train(tiny_experiment("acf_sum", "train.steps=1", "train.log_every=7"), tmp_path, str(tiny_scenes))


def test_a_checkpoint_of_another_model_is_refused(killed, tiny_scenes, tmp_path):
    shutil.copytree(killed / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(ConfigError, match="is no checkpoint of this model"):
        train(tiny_experiment("acf_aspp_ob", "model.channels=4"), tmp_path, str(tiny_scenes))


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
    return max(int(name[5:13]) for name in checkpoints_of(run_dir) if name.startswith("step_"))


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
