"""Runs with `train.deterministic`, bootstrapping and averaged weights, each in processes of its own; memory."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.worker import NETWORKS

pytestmark = pytest.mark.gpu


def checkpoint_of(run_dir: Path) -> dict[str, bytes]:
    with np.load(run_dir / "checkpoints" / "step_00000004.npz") as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def losses_of(run_dir: Path) -> list[list[str]]:
    with (run_dir / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [[row[name] for name in ("step", "split", "loss", "gradient_norm", "miou_fine")] for row in rows]


@pytest.mark.parametrize("other", ["again", "continued"])
def test_two_runs_are_the_same_to_the_bit_and_so_is_one_that_was_stopped(other, background, runs):
    background.printed("whole")
    printed = background.printed(other)
    assert ("continues at step 2 of 4" in printed) == (other == "continued")
    whole, found = checkpoint_of(runs / "whole"), checkpoint_of(runs / other)
    assert any("average" in name for name in whole) and any("momentum" in name for name in whole)
    assert [name for name in whole if whole[name] != found[name]] == []
    assert losses_of(runs / other) == losses_of(runs / "whole")


@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_has_an_operation_that_differs_from_run_to_run(network, background):
    said = json.loads(background.printed("deterministic").splitlines()[-1])
    assert said[network] == "same"


def test_the_estimate_of_memory_is_enough_and_not_far_too_much(background):
    numbers = json.loads(background.printed("memory").splitlines()[-1])
    if numbers["taken"] is None:
        pytest.skip("no GPU here: TensorFlow counts bytes on GPUs only")
    assert numbers["taken"] <= numbers["estimate"] <= 1.6 * numbers["taken"], numbers
