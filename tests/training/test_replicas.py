"""Law: replicas, of one process or of several, compute what one device would on the same global batch.

Every strategy has one process of its own, or one pair of them, that does all runs it is needed for.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.models.create import create_model
from acfnet_tf.scenes.street_scenes import write_street_scenes
from acfnet_tf.training.run_folder import RunFolder
from tests.running import run
from tests.saving import randomize
from tests.tiny import shallow_resnet, tiny_experiment
from tests.training.replica_worker import COMPILED, NOT_SYNCHRONIZED, train_run

ROOT = Path(__file__).parents[2]
WORKERS = "train.strategy=multi_worker"
MICRO = ("train.micro_batch=2",)
LONG = (
    "train.steps=20",
    "train.validate_every=8",
    "train.validate_images=1",  # the second worker has none
    "train.ema_momentum=0.9",
    # At 0.003 a change of 1e-7 of the weights is one of 1e-2 of the loss after 20 steps, on one device too.
    "train.learning_rate=0.0001",
)
LOSSES = ("loss", "loss_aux", "loss_coarse", "loss_fine")


def run_python(*arguments: object) -> str:
    """Runs a module or script in a process of its own; returns what it printed."""
    process = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def launched(*arguments: object) -> tuple[object, ...]:
    """The arguments of Python that start two workers of a module or script."""
    return "-m", "acfnet_tf.launch", "--workers=2", "--", *arguments


def worker(replicas: int, data_dir: Path, *runs: dict) -> tuple[object, ...]:
    return "-m", "tests.training.replica_worker", replicas, data_dir, json.dumps(runs)


@pytest.fixture(scope="module")
def runs(tiny_scenes, tmp_path_factory):
    """The folder of all runs, of 4 steps. The "long" one goes from two replicas to one device and to two workers.

    A signal after the last step saves the time of a validation and of saving a model.
    """
    folder = tmp_path_factory.mktemp("runs")
    data, moving = str(tiny_scenes), str(folder / "long_moving")

    train_run(data, str(folder / "one_device"))
    train_run(data, str(folder / "one_device_micro"), MICRO, sigterm_after=4)
    train_run(data, str(folder / "long_one_device"), LONG)

    printed = run_python(
        *worker(
            2,
            tiny_scenes,
            {"run_dir": str(folder / "two_replicas")},
            {"run_dir": str(folder / "two_replicas_micro"), "settings": MICRO, "sigterm_after": 4},
            *(
                {"run_dir": str(folder / mode), "mode": mode, "sigterm_after": 4}
                for mode in (*NOT_SYNCHRONIZED, COMPILED)
            ),
            {"run_dir": moving, "settings": LONG, "sigterm_after": 7},
        )
    )
    assert printed.count("Devices: 2. Convolutions: ") == 6

    train_run(data, moving, LONG, sigterm_after=13)

    printed = run_python(
        *launched(
            *worker(
                1,
                tiny_scenes,
                {"run_dir": str(folder / "two_workers"), "settings": (WORKERS,)},
                {"run_dir": str(folder / "two_workers_micro"), "settings": (*MICRO, WORKERS), "sigterm_after": 4},
                {"run_dir": moving, "settings": (*LONG, WORKERS)},
            )
        )
    )
    assert printed.count("Devices: 2. Workers: 2.") == 3
    assert "continues at step 13 of 20" in printed
    return folder


def weights_of(run_dir: Path) -> dict[str, np.ndarray]:
    with shallow_resnet():
        return {weight.path: weight.numpy() for weight in keras.models.load_model(run_dir / "model.keras").weights}


def checkpoint_of(run_dir: Path, step: int) -> dict[str, np.ndarray]:
    with np.load(run_dir / "checkpoints" / f"step_{step:08d}.npz") as arrays:
        return dict(arrays)


def rows_of(run_dir: Path, split: str = "") -> list[dict[str, str]]:
    """The rows of metrics.csv, or those of a split."""
    with (run_dir / "metrics.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["split"].startswith(split)]


def numbers_of(run_dir: Path, split: str, *names: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in rows_of(run_dir, split)])


def same_rows(a: Path, b: Path) -> bool:
    names = [[(row["step"], row["split"]) for row in rows_of(run_dir)] for run_dir in (a, b)]
    return names[0] == names[1]


def largest_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    assert a.keys() == b.keys()
    return max(float(np.abs(a[path] - b[path]).max()) for path in a)


@pytest.mark.parametrize(
    ("several", "one"),
    [
        ("two_replicas", "one_device"),
        ("two_workers", "one_device"),
        ("two_workers", "two_replicas"),
        ("two_replicas_micro", "one_device_micro"),
        ("two_workers_micro", "one_device_micro"),
    ],
)
def test_replicas_and_workers_equal_one_device(runs, several, one):
    several, one = runs / several, runs / one
    weights = checkpoint_of(several, 4)
    assert all(any(part in name for name in weights) for part in ("kernel", "moving_variance", "momentum"))
    assert largest_difference(weights, checkpoint_of(one, 4)) < 1e-5
    assert same_rows(several, one)
    np.testing.assert_allclose(numbers_of(several, "train", *LOSSES), numbers_of(one, "train", *LOSSES), rtol=1e-5)


def test_norms_that_xla_compiles_are_those_of_the_global_batch_too(runs):
    assert largest_difference(checkpoint_of(runs / COMPILED, 4), checkpoint_of(runs / "one_device", 4)) < 1e-5


@pytest.mark.parametrize("run", NOT_SYNCHRONIZED)
def test_without_synchronization_they_differ(runs, run):
    assert largest_difference(checkpoint_of(runs / run, 4), checkpoint_of(runs / "one_device", 4)) > 1e-4


def test_a_run_may_move_between_replicas_one_device_and_workers(runs):
    moving, still = runs / "long_moving", runs / "long_one_device"
    assert [row["step"] for row in rows_of(moving, "train")] == [str(step) for step in range(1, 21)]
    assert same_rows(moving, still)
    np.testing.assert_allclose(numbers_of(moving, "train", *LOSSES), numbers_of(still, "train", *LOSSES), rtol=1e-4)
    # A gradient jumps when another pixel is among the hardest.
    norms = [numbers_of(run_dir, "train", "gradient_norm") for run_dir in (moving, still)]
    np.testing.assert_allclose(*norms, rtol=1e-2)
    # A pixel between two classes may change sides.
    names = ("miou_coarse", "miou_fine")
    np.testing.assert_allclose(numbers_of(moving, "val", *names), numbers_of(still, "val", *names), atol=1e-3)
    checkpoint = checkpoint_of(moving, 20)
    assert all(any(part in name for name in checkpoint) for part in ("kernel", "moving", "momentum", "average"))
    assert largest_difference(checkpoint, checkpoint_of(still, 20)) < 1e-4
    assert largest_difference(weights_of(moving), weights_of(still)) < 1e-4


def test_evaluation_on_two_workers_counts_the_same_pixels(tmp_path):
    data = write_street_scenes(tmp_path / "scenes", train=5, val=1, test=1, size=(64, 128), seed=1)  # shares of 3 and 2
    run_dir, experiment = tmp_path / "run", tiny_experiment("acf_aspp_ob", "model.num_classes=19")
    model = create_model(experiment.model)
    randomize(model)
    folder = RunFolder(run_dir, experiment, CITYSCAPES)
    with folder.open():
        folder.save_model(model)
    arguments = ("--mode=evaluate", f"--experiment={experiment.name}", f"--data_dir={data}", f"--run_dir={run_dir}")
    run(*arguments, "--split=train")
    alone = json.loads((run_dir / "evaluation.json").read_text())
    (run_dir / "evaluation.json").unlink()
    run_python(*launched("main.py", *arguments, "--split=train"))
    together = json.loads((run_dir / "evaluation.json").read_text())
    assert together == alone
    for scores in together["heads"].values():
        assert np.sum(scores["confusion"]) > 4 * 64 * 128  # but for ignored pixels, all
