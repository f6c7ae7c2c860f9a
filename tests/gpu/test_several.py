"""Several GPUs of one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
WHAT_A_WORKER_SEES = """
import json, os, pathlib, sys
import tensorflow as tf
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
seen = os.environ.get("CUDA_VISIBLE_DEVICES"), len(tf.config.list_physical_devices("GPU"))
pathlib.Path(sys.argv[1], str(index)).write_text(json.dumps(seen))
"""


def run_python(*arguments: object, **environment: str) -> str:
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def test_two_gpus_equal_one(two_gpus, tiny_scenes, tmp_path):
    for gpus in ("0", "0,1"):
        run = {"run_dir": str(tmp_path / gpus), "settings": ["train.precision=float32"]}
        worker = ("-m", "tests.training.replica_worker", 1, tiny_scenes, json.dumps([run]))
        printed = run_python(*worker, CUDA_VISIBLE_DEVICES=gpus)
        assert f"Devices: {len(gpus.split(','))}." in printed
    one, two = (np.load(tmp_path / gpus / "checkpoints" / "step_00000004.npz") for gpus in ("0", "0,1"))
    assert one.files == two.files
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-3, err_msg=name)


def test_the_launcher_shares_the_gpus_out(gpus, tmp_path):
    workers = min(gpus, 2)
    command = ("-m", "acfnet_tf.launch", f"--workers={workers}", "--", "-c", WHAT_A_WORKER_SEES, tmp_path)
    shares = gpus // workers * workers
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(shares)))}
    on_a_cpu = os.environ.get("CUDA_VISIBLE_DEVICES") == "-1"
    run_python(*command, **({} if on_a_cpu else visible))
    seen = [json.loads((tmp_path / str(index)).read_text()) for index in range(workers)]
    if on_a_cpu:
        assert seen == [["-1", 0]]
    else:
        assert [count for _, count in seen] == [shares // workers] * workers
        assert len({names for names, _ in seen}) == workers
