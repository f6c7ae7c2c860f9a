"""The choice of the micro-batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tensorflow as tf
from tensorflow.python.client import device_lib

from acfnet_tf.errors import ConfigError
from acfnet_tf.measure import memory
from acfnet_tf.measure.complexity import Part
from acfnet_tf.models.create import create_model
from acfnet_tf.training.workers import Workers
from tests.tiny import tiny_experiment

WORKERS = Workers(tf.distribute.OneDeviceStrategy("CPU:0"))
EXPERIMENT = tiny_experiment("acf_aspp_ob", "train.micro_batch=none")


@pytest.fixture(scope="module")
def model():
    return create_model(EXPERIMENT.model)


@pytest.fixture(scope="module")
def needed(model) -> tuple[int, int]:
    return memory.training_bytes(model, (33, 49))


@pytest.fixture
def fits(needed, monkeypatch):
    """Frees memory for that many samples."""

    def free(samples: float) -> None:
        fixed, per_sample = needed
        monkeypatch.setattr(
            memory, "_available_bytes", lambda workers: (fixed + samples * per_sample) / memory.USABLE + 1
        )

    return free


@pytest.mark.parametrize(("samples_that_fit", "expected"), [(100, 4), (3.5, 2), (1.2, 1)])
def test_the_largest_divisor_that_fits_is_chosen(model, fits, samples_that_fit, expected):
    fits(samples_that_fit)
    micro_batch, why = memory.choose_micro_batch(model, EXPERIMENT, WORKERS)
    assert micro_batch == expected
    assert ("BatchNorm statistics are per micro-batch; bootstrapping first looks at the whole batch" in why) == (
        expected < 4
    )


def test_a_run_keeps_its_micro_batch_whatever_is_free(model, fits):
    fits(100)
    micro_batch, why = memory.choose_micro_batch(model, EXPERIMENT, WORKERS, recorded=2)
    assert micro_batch == 2
    assert "The run keeps its micro-batch" in why
    fits(1.5)
    with pytest.raises(ConfigError, match=r"does not fit.*--set train\.micro_batch=1, which changes the statistics"):
        memory.choose_micro_batch(model, EXPERIMENT, WORKERS, recorded=2)
    for size in (1, 2):
        experiment = tiny_experiment("acf_aspp_ob", f"train.micro_batch={size}")
        micro_batch, why = memory.choose_micro_batch(model, experiment, WORKERS, recorded=2)
        assert micro_batch == size
        assert ("It was 2: from here on BatchNorm statistics are of 1 samples" in why) == (size == 1)


def test_not_even_one_sample_is_an_error_with_its_size(model, monkeypatch):
    monkeypatch.setattr(memory, "_available_bytes", lambda workers: 1000.0)
    with pytest.raises(ConfigError, match="33,49"):
        memory.choose_micro_batch(model, EXPERIMENT, WORKERS)


def test_memory_grows_with_the_crop(model):
    small, large = (memory.training_bytes(model, size)[1] for size in ((33, 33), (65, 65)))
    assert 3 < large / small < 4.5


MEASURED = {"float32": (35.77, 37.4), "mixed_bfloat16": (18.90, 19.5)}
"""GiB of the full network at 8 crops of 769×769 on an H100 with TensorFlow 2.21 (float32 computes in TF32): what is
kept for the backward pass, and the most that TensorFlow's allocator held in the process."""
WEIGHTS = 76_462_841


class FullNetwork(SimpleNamespace):
    def count_params(self) -> int:
        return WEIGHTS


@pytest.mark.parametrize("policy", MEASURED)
def test_the_estimate_for_gpus_is_on_the_safe_side_of_what_was_measured(policy, monkeypatch):
    kept, peak = MEASURED[policy]
    part = Part("all", 0, 0, round(kept / 8 * 2**30))
    monkeypatch.setattr(memory, "complexity", lambda model, size: [part])
    network = FullNetwork(dtype_policy=SimpleNamespace(name=policy))
    fixed, per_sample = memory.training_bytes(network, (769, 769), device_type="GPU")
    weights_and_momentum = 2 * WEIGHTS * 4
    estimate = (weights_and_momentum + fixed + 8 * per_sample) / 2**30
    assert peak <= estimate <= 1.1 * peak


@pytest.fixture
def machine(monkeypatch):
    """Two GPUs of 20 and 12 GB, of which 1 and 2 GB are in use; gives workers on those that are named."""
    limits, used = (20e9, 12e9), (1e9, 2e9)
    devices = [SimpleNamespace(name="/device:CPU:0", memory_limit=2**28)]
    devices += [SimpleNamespace(name=f"/device:GPU:{i}", memory_limit=limit) for i, limit in enumerate(limits)]
    monkeypatch.setattr(device_lib, "list_local_devices", lambda: devices)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda name: {"current": used[int(name[-1])]})

    def workers(*gpus: int, task: str = "/job:localhost/replica:0/task:0") -> Workers:
        names = tuple(f"{task}/device:GPU:{gpu}" for gpu in gpus)
        extended = SimpleNamespace(worker_devices=names)
        return Workers(SimpleNamespace(extended=extended, num_replicas_in_sync=len(names)))

    return workers


def test_free_on_a_gpu_is_what_is_not_in_use_of_the_fullest_that_is_trained_on(machine):
    assert memory._available_bytes(machine(0)) == 19e9
    assert memory._available_bytes(machine(0, 1)) == 10e9
    assert memory._available_bytes(machine(1, task="/job:worker/replica:0/task:3")) == 10e9


def test_the_line_says_limit_what_is_in_use_and_what_is_free(model, machine):
    micro_batch, line = memory.choose_micro_batch(model, EXPERIMENT, machine(0, 1))
    assert micro_batch == 4
    assert line.startswith("Memory: 8.4 GiB (of 11.2 GiB, of which 1.9 GiB are in use already; a tenth is left as a")
    assert " free on each device; a step needs about " in line
