"""The choice of the micro-batch."""

from __future__ import annotations

import pytest
import tensorflow as tf

from acfnet_tf.errors import ConfigError
from acfnet_tf.measure import memory
from acfnet_tf.models.create import create_model
from acfnet_tf.training.workers import Workers
from tests.tiny import tiny_experiment

WORKERS = Workers(tf.distribute.get_strategy())
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
