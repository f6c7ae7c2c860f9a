"""`compile` and `fit` of Keras train as `TrainStep` does, on one device and on two replicas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[int, dict[str, np.ndarray]]:
    """What fit_worker.py writes, by the number of replicas: each takes a process of its own."""
    folder = tmp_path_factory.mktemp("fit")
    for replicas in (1, 2):
        command = [sys.executable, "-m", "tests.training.fit_worker", str(replicas), str(folder / f"{replicas}.npz")]
        subprocess.run(command, cwd=ROOT, check=True)
    return {replicas: dict(np.load(folder / f"{replicas}.npz")) for replicas in (1, 2)}


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def assert_same(some: dict[str, np.ndarray], others: dict[str, np.ndarray], atol: float = 1e-5) -> None:
    assert len(some) == len(others) > 0
    for (name, one), other in zip(some.items(), others.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.parametrize("replicas", [1, 2])
def test_fit_equals_our_step_on_the_same_batches(results, replicas):
    """Weights, statistics, momenta, averages and losses, with bootstrapping, class weights and clipping."""
    assert_same(part(results[replicas], "step/"), part(results[replicas], "fit/"))


@pytest.mark.parametrize("prefix", ["step/", "fit/", "norm/", "optimizer/"])
def test_two_replicas_equal_one_device(results, prefix):
    assert_same(part(results[1], prefix), part(results[2], prefix))


def test_replicas_that_bootstrap_on_their_own_are_noticed(results):
    with pytest.raises(AssertionError):
        assert_same(part(results[2], "local/"), part(results[1], "fit/"))
