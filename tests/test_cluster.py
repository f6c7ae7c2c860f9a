"""Who the workers are, and what is said when they cannot be."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.cluster import TF_CONFIG, join_workers, lost_worker, read_tf_config, write_tf_config
from acfnet_tf.errors import ConfigError
from acfnet_tf.training.workers import Workers

ADDRESSES = ["a:1", "b:2", "c:3"]


def tf_config(task: str, index: int, **cluster: list[str]) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": task, "index": index}})


@pytest.fixture
def lonely() -> Workers:
    return Workers(tf.distribute.get_strategy())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ([], 0)),
        ("{}", ([], 0)),
        (tf_config("worker", 1, worker=ADDRESSES), (ADDRESSES, 1)),
        (tf_config("chief", 0, chief=ADDRESSES[:1], worker=ADDRESSES[1:]), (ADDRESSES, 0)),
        (tf_config("worker", 1, chief=ADDRESSES[:1], worker=ADDRESSES[1:]), (ADDRESSES, 2)),
    ],
)
def test_the_cluster_is_read_with_the_chief_first(monkeypatch, value, expected):
    monkeypatch.setenv(TF_CONFIG, value)
    assert read_tf_config() == expected


def test_what_is_written_is_read(monkeypatch):
    monkeypatch.setenv(TF_CONFIG, "")
    write_tf_config(ADDRESSES, 2)
    assert read_tf_config() == (ADDRESSES, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("not JSON", "TF_CONFIG = 'not JSON': expected {"),
        ("[]", "expected {"),
        (json.dumps({"cluster": {"worker": ADDRESSES}}), "expected {"),
        (tf_config("worker", 3, worker=ADDRESSES), "there is no worker 3 among the workers a:1, b:2, c:3"),
        (tf_config("evaluator", 0, worker=ADDRESSES), "there is no evaluator 0"),
        (tf_config("worker", 0, worker=["a", "b:2"]), "worker 'a': expected HOST:PORT"),
        (tf_config("worker", 0, worker=["a:1", "a:1"]), "two workers have one address"),
    ],
)
def test_a_bad_cluster_is_explained(monkeypatch, value, message):
    monkeypatch.setenv(TF_CONFIG, value)
    with pytest.raises(ConfigError) as refused:
        read_tf_config()
    assert message in str(refused.value)


def test_several_workers_must_be_asked_for_and_be_there(monkeypatch):
    monkeypatch.delenv(TF_CONFIG, raising=False)
    with pytest.raises(ConfigError, match="--cluster=HOST:PORT,HOST:PORT --worker=INDEX"):
        join_workers("multi_worker")
    write_tf_config(ADDRESSES, 0)
    with pytest.raises(ConfigError, match=r"lists 3 workers, but train\.strategy=mirrored is for one"):
        join_workers("mirrored")
    write_tf_config(ADDRESSES[:1], 0)
    assert join_workers("multi_worker").count == 1


@pytest.mark.parametrize(("gpus", "implementation"), [([], "AUTO"), (["GPU:0"], "NCCL")])
def test_workers_with_gpus_sum_by_nccl(gpus, implementation, monkeypatch):
    asked = []

    def strategy(communication_options):
        asked.append(communication_options.implementation.name)
        return tf.distribute.get_strategy()

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", strategy)
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)  # This process keeps its own.
    monkeypatch.setenv(TF_CONFIG, "")
    write_tf_config(ADDRESSES, 1)
    assert join_workers("multi_worker").index == 1
    assert asked == [implementation]


def test_a_worker_on_its_own_has_everything(lonely):
    assert lonely.is_chief
    assert lonely.part_of(ADDRESSES) == ADDRESSES
    np.testing.assert_array_equal(lonely.sum(np.arange(3)), np.arange(3))
    np.testing.assert_array_equal(lonely.gather(7), [7])
    values = [np.float32([[-0.0, 1.5, np.nan]]), np.int64(3), np.zeros((0, 2), np.float32)]
    for value, received in zip(values, lonely.from_chief(values), strict=True):
        assert (received.tobytes(), received.shape, received.dtype) == (value.tobytes(), value.shape, value.dtype)
    assert lonely.text_from_chief("α" * 100) == "α" * 100
    lonely.check_agreement(settings="anything")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_disjoint_and_complete(count):
    items = list(range(7))
    addresses = [f"host:{index + 1}" for index in range(count)]
    shares = [Workers(tf.distribute.get_strategy(), addresses, index).part_of(items) for index in range(count)]
    assert sorted(item for share in shares for item in share) == items


def test_workers_that_were_started_differently_are_told(monkeypatch):
    workers = Workers(tf.distribute.get_strategy(), ADDRESSES, 1)
    monkeypatch.setattr(workers, "gather", lambda value: np.array([5, 5, 6]))
    with pytest.raises(ConfigError, match="the data of c:3 differ from those of a:1"):
        workers.check_agreement(data="x")


def test_a_lost_worker_is_named():
    workers = Workers(tf.distribute.get_strategy(), ADDRESSES, 1)
    gone = tf.errors.UnavailableError(
        None, None, "from remote target /job:worker/replica:0/task:2 while calling RecvBuf"
    )
    assert lost_worker(workers, gone) == "worker 2 (c:3)"
    assert lost_worker(workers, tf.errors.UnavailableError(None, None, "no name")) == "another worker"
    assert lost_worker(workers, tf.errors.InvalidArgumentError(None, None, "bad shape")) is None
    assert lost_worker(Workers(tf.distribute.get_strategy()), gone) is None
