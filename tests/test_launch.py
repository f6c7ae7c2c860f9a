"""The launcher, with workers that do not load TensorFlow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from acfnet_tf.launch import main, visible_gpus

PACKAGE = Path(__file__).parents[1] / "acfnet_tf"
# Imported beside its folder, without the package and hence without TensorFlow; nobody has long to end.
LAUNCH = "import launch; launch.SECONDS_ALONE, launch.SECONDS_AFTER_SIGTERM = 1, 0.5; launch.main()"
PREFACE = """
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).parent
task = json.loads(os.environ["TF_CONFIG"])
index = task["task"]["index"]
(here / f"pid_{index}").write_text(str(os.getpid()))
while len(list(here.glob("pid_*"))) < len(task["cluster"]["worker"]): time.sleep(0.01)
"""


@pytest.fixture
def start(tmp_path):
    """Starts the launcher on workers that run the given code once all of them are there."""
    processes = []

    def start(
        code: str = "", workers: int = 2, name: str = "worker.py", *arguments: str, **variables: str
    ) -> subprocess.Popen:
        (tmp_path / name).write_text(PREFACE + code)
        command = [sys.executable, "-c", LAUNCH, f"--workers={workers}", "--", str(tmp_path / name), *arguments]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(tmp_path), **variables}
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, cwd=PACKAGE, env=environment, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(folder: Path, workers: int = 2) -> list[int]:
    return [int((folder / f"pid_{index}").read_text()) for index in range(workers)]


def test_every_worker_has_its_task_and_an_address_of_its_own(start, tmp_path):
    process = start('(here / f"task_{index}").write_text(os.environ["TF_CONFIG"])', workers=3)
    assert process.wait(20) == 0
    tasks = [json.loads((tmp_path / f"task_{index}").read_text()) for index in range(3)]
    assert [task["task"] for task in tasks] == [{"type": "worker", "index": index} for index in range(3)]
    assert tasks[0]["cluster"] == tasks[1]["cluster"] == tasks[2]["cluster"]
    addresses = tasks[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in addresses)


def test_the_output_of_the_chief_streams_and_that_of_the_others_does_not(start, tmp_path):
    process = start('print("out", index)\nwhile not (here / "end").exists(): time.sleep(0.02)')
    assert process.stdout.readline() == "out 0\n"
    (tmp_path / "end").touch()
    out, err = process.communicate(timeout=20)
    assert out == ""
    assert "out 1" not in err
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("name", "appended"),
    [
        *((name, ["--set=train.strategy=multi_worker"]) for name in ("main.py", "acfnet_tf")),
        ("other_main.py", []),
    ],
)
def test_only_main_is_told_the_strategy(start, name, appended):
    out, _ = start("print(json.dumps(sys.argv[1:]))", 1, name, "--mode=train", "-x").communicate(timeout=20)
    assert json.loads(out) == ["--mode=train", "-x", *appended]


def test_a_failure_ends_all_and_shows_the_last_lines(start, tmp_path):
    process = start("for line in range(99): print('line', line)\nif index == 1: sys.exit(3)\ntime.sleep(60)")
    _, err = process.communicate(timeout=20)
    chief, other = pids(tmp_path)
    assert process.returncode == 3
    assert f"Worker 1 (pid {other}) ended with status 3." in err
    assert "line 79\n" in err and "line 98\n" in err and "line 78\n" not in err
    assert "SIGTERM to workers 0." in err and "SIGKILL" not in err
    assert not alive(chief)


def test_peers_have_a_moment_to_end_by_themselves(start, tmp_path):
    process = start("if index == 1: sys.exit(3)\ntime.sleep(0.2)\nprint('noticed')\nsys.exit(1)")
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("noticed\n", 3)
    assert "SIGTERM" not in err


def test_who_ignores_sigterm_is_killed(start, tmp_path):
    process = start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(here / f'ready_{index}').touch()\n"
        "while not (here / 'ready_0').exists(): time.sleep(0.02)\nif index == 1: sys.exit(3)\ntime.sleep(60)"
    )
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "SIGKILL to workers 0." in err
    assert not alive(pids(tmp_path)[0])


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_worker_is_named(start, index):
    process = start(f"if index == {index}: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 137
    assert f"Worker {index} (pid " in err and ") ended with SIGKILL." in err


COUNTING = """
received = []
signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
signal.signal(signal.SIGINT, lambda number, _: received.append(number))
(here / f"ready_{index}").touch()
while not received: time.sleep(0.02)
time.sleep(1 + index / 2)
(here / f"received_{index}").write_text(json.dumps(received))
sys.exit(128 + received[0] if index == 0 else 1)
"""


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_every_signal_is_forwarded_once_and_the_chief_decides(start, tmp_path, numbers):
    process = start(COUNTING)
    wait_for(lambda: (tmp_path / "ready_0").exists() and (tmp_path / "ready_1").exists())
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.3)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + numbers[0]
    assert [json.loads((tmp_path / f"received_{index}").read_text()) for index in range(2)] == [numbers, numbers]
    assert "Worker 1 (pid " in err and "Worker 0 (pid " not in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_workers_do_not_outlive_a_killed_launcher(start, tmp_path):
    process = start("(here / f'ready_{index}').touch()\ntime.sleep(60)")
    wait_for(lambda: (tmp_path / "ready_0").exists() and (tmp_path / "ready_1").exists())
    workers = pids(tmp_path)
    assert all(os.getsid(pid) == pid for pid in workers)
    process.kill()
    wait_for(lambda: not any(map(alive, workers)), 5)


SHOW_GPUS = '(here / f"gpus_{index}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))'
UUIDS = ["GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A driver's program that is found first, and lists that many GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def listing(count: int) -> None:
        lines = "".join(f"echo {index}\n" for index in range(count)) or "echo No devices were found; exit 6"
        (folder / "nvidia-smi").write_text(f'#!/bin/sh\n[ "$1" = --query-gpu=index ] || exit 2\n{lines}')
        (folder / "nvidia-smi").chmod(0o755)

    return listing


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("0,1", ["0", "1"]),
        (" 3 , 1", ["3", "1"]),
        (",".join(UUIDS), UUIDS),
        ("MIG-GPU-5d5ba0d6-d33d/1/0", ["MIG-GPU-5d5ba0d6-d33d/1/0"]),
        ("2,-1,3", ["2"]),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_the_gpus_are_those_that_cuda_sees(variable, expected, nvidia_smi, monkeypatch):
    nvidia_smi(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == expected


def test_without_the_variable_the_driver_lists_the_gpus(nvidia_smi, monkeypatch):
    nvidia_smi(3)
    assert visible_gpus() == ["0", "1", "2"]
    nvidia_smi(0)
    assert visible_gpus() == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("variable", "workers", "shares"),
    [
        ("0,1,2,3", 2, ["0,1", "2,3"]),
        ("5,2,7", 3, ["5", "2", "7"]),
        (",".join(UUIDS), 2, UUIDS),
        ("0,1", 1, ["0,1"]),
        ("", 2, ["", ""]),
    ],
)
def test_gpus_are_shared_out_evenly(start, tmp_path, variable, workers, shares):
    process = start(SHOW_GPUS, workers, CUDA_VISIBLE_DEVICES=variable)
    _, err = process.communicate(timeout=20)
    assert [(tmp_path / f"gpus_{index}").read_text() for index in range(workers)] == shares
    said = "; ".join(f"{share} for worker {index}" for index, share in enumerate(shares))
    assert [line for line in err.splitlines() if "GPU" in line] == ([f"GPUs: {said}."] if variable else [])


def test_gpus_that_the_driver_lists_are_shared_out(nvidia_smi, monkeypatch):
    nvidia_smi(4)
    started = mock.Mock(return_value=0)
    monkeypatch.setattr("acfnet_tf.launch.launch", started)
    monkeypatch.setattr(sys, "argv", ["launch.py", "--workers=2", "--", "-m", "json.tool"])
    with pytest.raises(SystemExit):
        main()
    started.assert_called_once_with(["-m", "json.tool"], 2, ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("count", "workers", "remedy"),
    [(4, 3, "--workers=1 or 2 or 4"), (1, 2, "--workers=1,"), (2, 4, "--workers=1 or 2")],
)
def test_gpus_that_cannot_be_shared_evenly_are_refused(count, workers, remedy, nvidia_smi, monkeypatch, capsys):
    nvidia_smi(count)
    monkeypatch.setattr(sys, "argv", ["launch.py", f"--workers={workers}", "--", "-m", "json.tool"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert remedy in line and 'CUDA_VISIBLE_DEVICES to other GPUs, or to "" for none' in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers=0", "--", "main.py"], "at least 1"),
        (["--workers=two", "--", "main.py"], "invalid int value: 'two'"),
        (["--workers=2"], "no command"),
        (["--", "nowhere/main.py"], "no script nowhere/main.py"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_modules_launch_and_are_launched():
    command = [sys.executable, "-m", "acfnet_tf.launch", "--workers=1", "--", "-m", "json.tool", "--help"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert process.returncode == 0, process.stderr
    assert "json.tool" in process.stdout
