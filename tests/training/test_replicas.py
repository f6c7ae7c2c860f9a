"""Law: N replicas compute what one device would on the same global batch. Every strategy has a process of its own."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import acfnet_tf  # noqa: F401 (registers the layers)


@pytest.fixture(scope="module")
def trained(tiny_scenes, tmp_path_factory):
    """Trains for 4 steps; returns (weights by path, losses of every step)."""

    def train(replicas: int, mode: str = "synchronized"):
        run_dir = tmp_path_factory.mktemp("run")
        command = [sys.executable, "-m", "tests.training.replica_worker", str(replicas), mode, tiny_scenes, run_dir]
        root = Path(__file__).parents[2]
        process = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=root)
        assert process.returncode == 0, process.stderr[-3000:]
        assert f"Devices: {replicas}." in process.stdout
        model = keras.models.load_model(run_dir / "model.keras")
        with (run_dir / "metrics.csv").open() as stream:
            losses = [float(row["loss"]) for row in csv.DictReader(stream) if row["split"] == "train"]
        return {weight.path: weight.numpy() for weight in model.weights}, np.array(losses)

    return train


@pytest.fixture(scope="module")
def one_device(trained):
    return trained(1)


def largest_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(a[path] - b[path]).max()) for path in a)


def test_two_replicas_equal_one_device(trained, one_device):
    weights, losses = trained(2)
    assert weights.keys() == one_device[0].keys()
    assert any("moving_variance" in path for path in weights)
    assert largest_difference(weights, one_device[0]) < 1e-5
    np.testing.assert_allclose(losses, one_device[1], rtol=1e-5)


@pytest.mark.parametrize("mode", ["local_statistics", "local_bootstrapping"])
def test_without_synchronization_they_differ(trained, one_device, mode):
    weights, _ = trained(2, mode)
    assert largest_difference(weights, one_device[0]) > 1e-4
