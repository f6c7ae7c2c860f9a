"""What must hold on a GPU. `make test-gpu` runs these tests; with ACFNET_TEST_GPU=cpu they are tried on a CPU."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

from acfnet_tf.layers.precision import running
from acfnet_tf.training.step import TrainStep
from tests.gpu.worker import Batch, scenes
from tests.tiny import shallow_resnet, tiny_experiment
from tests.training.steps import make_step

ROOT = Path(__file__).parents[2]
ON_CPU = os.environ.get("ACFNET_TEST_GPU") == "cpu"
LEARNING = ("train.steps=1000", "train.learning_rate=0.1", "model.backbone_width=8", "model.channels=16")
"""With these a training learns the four scenes in a hundred steps."""
SETTINGS_OF_RUNS = ("train.deterministic=true", "train.strategy=one_device", "train.ema_momentum=0.9")


@pytest.fixture(scope="session", autouse=True)
def gpus() -> int:
    """How many there are; where the tests are tried on a CPU, one."""
    count = 1 if ON_CPU else len(tf.config.list_physical_devices("GPU"))
    if not count:
        pytest.skip("no GPU here: TensorFlow sees none")
    return count


@pytest.fixture(scope="session")
def two_gpus(gpus: int) -> None:
    if gpus < 2:
        pytest.skip("one GPU here: this test needs two")


@pytest.fixture(scope="session", autouse=True)
def shallow(gpus: int) -> Iterator[None]:
    """Networks of few blocks, as it is first steps that take time here."""
    with shallow_resnet():
        yield


@pytest.fixture(scope="session")
def batch(tiny_scenes: Path) -> Batch:
    return scenes(tiny_scenes)


class Trainings:
    """Training steps by their settings, each traced once for all tests, on the same batch again and again."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self._steps = batch, {}

    def __call__(
        self, *settings: str, steps: int, strategy: tf.distribute.Strategy | None = None
    ) -> tuple[TrainStep, list[dict[str, float]]]:
        """A step that has run so often, or more, and its losses."""
        key = (settings, strategy)
        if key not in self._steps:
            experiment = tiny_experiment("acf_aspp_ob", *settings)
            self._steps[key] = make_step(experiment, strategy), experiment.train.precision, []
        step, precision, losses = self._steps[key]
        with running(precision):
            while len(losses) < steps:
                losses.append({name: float(value) for name, value in step(self.batch).items()})
        return step, losses


@pytest.fixture(scope="session")
def trained(batch: Batch) -> Trainings:
    return Trainings(batch)


class Background:
    """Programs that run beside the tests: on a GPU all at once, tried on a CPU one after the other."""

    def __init__(self) -> None:
        self.pool, self.stopping = ThreadPoolExecutor(1 if ON_CPU else 16), False
        self.programs: dict[str, Future[str]] = {}

    def start(self, name: str, *commands: list[object]) -> None:
        """Starts the commands of Python, one after the other, as the program `name`."""
        self.programs[name] = self.pool.submit(self._run, commands)

    def printed(self, name: str) -> str:
        """What a program has printed, once it has ended well."""
        return self.programs[name].result()

    def close(self) -> None:
        self.stopping = True
        self.pool.shutdown(cancel_futures=True)

    def _run(self, commands: tuple[list[object], ...]) -> str:
        return "".join(map(self._run_python, commands))

    def _run_python(self, arguments: list[object]) -> str:
        command, pipe = [sys.executable, *map(str, arguments)], subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=0.5)
                    break
                if self.stopping:
                    process.kill()
        assert process.returncode == 0, err[-3000:]
        return out


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that `background` trains: "whole" and "again", and "continued" by a second process."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def background(runs: Path, tiny_scenes: Path, gpus: int) -> Iterator[Background]:
    def training(name: str, **options: object) -> list[object]:
        run = {"run_dir": str(runs / name), "settings": SETTINGS_OF_RUNS, **options}
        return ["-m", "tests.training.replica_worker", 1, tiny_scenes, json.dumps([run])]

    worker = ["-m", "tests.gpu.worker"]
    programs = Background()
    programs.start("memory", [*worker, "memory", *(("33", "33") if ON_CPU else ("385", "385"))])
    programs.start("continued", training("continued", sigterm_after=2), training("continued"))
    programs.start("deterministic", [*worker, "deterministic", tiny_scenes])
    for name in ("whole", "again"):
        programs.start(name, training(name))
    yield programs
    programs.close()


@pytest.fixture(scope="session", autouse=True)
def ahead(request: pytest.FixtureRequest) -> None:
    """Starts them before the first test, if any test wants them."""
    if any("background" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("background")
