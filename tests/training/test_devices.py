"""What the devices of one process send each other, and what they are sent: counted here, as on GPUs it takes time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.devices_worker import SIZE

ROOT = Path(__file__).parents[2]
OF_BOOTSTRAPPING = 4
"""Sums for each head that is bootstrapped: how many pixels are valid, two histograms, and how many are kept."""


@pytest.fixture(scope="module")
def seen() -> dict:
    command = [sys.executable, "-m", "tests.training.devices_worker"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # The batch begins on the processor, as one that was read.
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


def test_a_device_is_sent_its_own_part_of_a_batch_only(seen):
    assert seen["parts"] == [2, 2]
    image_and_label = SIZE[0] * SIZE[1] * (3 * 4 + 1)
    assert seen["copied"] == {"CPU:1": 2 * image_and_label}  # The other device is the host's.


@pytest.mark.parametrize(
    ("experiment", "bootstrapped"), [("acf_sum", 0), ("acf_aspp_ob", 1), ("acf_aspp_ob compiled", 1)]
)
def test_a_step_sums_once_per_norm_and_direction_and_once_for_gradients_and_losses(seen, experiment, bootstrapped):
    run = seen["runs"][experiment]
    sums = run["sums"]
    assert sums["CPU:0"] == sums["CPU:1"], "one order on all devices"
    *others, last = sums["CPU:0"]
    assert last == run["weights"] + run["losses"]
    valid_pixels = 1
    assert len(others) == 2 * run["norms"] + valid_pixels + OF_BOOTSTRAPPING * bootstrapped
