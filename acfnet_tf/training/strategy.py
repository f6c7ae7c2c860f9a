"""Over which devices, and which processes, a training step is spread."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from acfnet_tf.errors import ConfigError, Stopped
from acfnet_tf.replicas import replica_sum
from acfnet_tf.signals import exit_status

TF_CONFIG = "TF_CONFIG"
"""The environment variable in which TensorFlow programs find their cluster: JSON with the addresses of all workers and
the task of this one."""

LOST = exit_status(signal.SIGTERM)
"""Exit status where the other workers are gone or not there yet: a restart may mend it."""


class Workers:
    """The processes that train together, what this one is among them, and the strategy that unites them.

    One process may have several replicas (devices); the workers have the same number of them each.

    Args:
        strategy: of `tf.distribute`.
        addresses: host:port of every worker; one entry for a process on its own.
        index: which of them this process is; 0 is the chief, the only one that writes files.
    """

    def __init__(self, strategy: tf.distribute.Strategy, addresses: Sequence[str] = ("",), index: int = 0) -> None:
        self.strategy, self.addresses, self.index = strategy, tuple(addresses), index
        self.count = len(self.addresses)
        self.is_chief = index == 0

    def check_batch(self, batch_size: int) -> None:
        """Raises ConfigError for a global batch that cannot be split evenly."""
        replicas = self.strategy.num_replicas_in_sync
        if batch_size % replicas:
            hint = ", or --set train.strategy=one_device" if self.count == 1 else ""
            raise ConfigError(
                f"train.batch_size = {batch_size}, the batch of all devices together, cannot be shared evenly by "
                f"{replicas} devices; choose a multiple{hint}"
            )

    def share(self, items: Sequence) -> Sequence:
        """This worker's part of the items; those of all workers are disjoint and make up the whole."""
        return items[self.index :: self.count]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of the workers' arrays, in the dtype given (int64 is exact). All workers must call it."""
        if self.count == 1:
            return values
        return self._sum(tf.convert_to_tensor(values)).numpy()

    def gather(self, value: int) -> np.ndarray:
        """The workers' numbers, (count,) int64. All workers must call it."""
        values = np.zeros(self.count, np.int64)
        values[self.index] = value
        return self.sum(values)

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Around what makes files that all workers need: where they share a disk, once is enough."""
        if not self.is_chief:
            self.gather(0)
        yield
        if self.is_chief:
            self.gather(0)

    def from_chief(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The chief's arrays, bit by bit, on all workers. All must call it, with the same shapes and dtypes."""
        raw = b"".join(value.tobytes() for value in values)
        raw = np.frombuffer(raw + bytes(-len(raw) % 8), np.int64)
        raw = self.sum(raw if self.is_chief else np.zeros_like(raw)).tobytes()
        ends = np.cumsum([value.nbytes for value in values])
        return [
            np.frombuffer(raw[end - value.nbytes : end], value.dtype).reshape(value.shape)
            for value, end in zip(values, ends, strict=True)
        ]

    def text_from_chief(self, text: str) -> str:
        """The chief's text, of 64 KiB at most, on all workers. All must call it."""
        (received,) = self.from_chief([np.array(text.encode(), "S65536")])
        return received.item().decode()

    def check_agreement(self, **facts: Any) -> None:
        """Makes sure that all workers were started alike.

        Args:
            **facts: what must be the same on all, for instance settings=..., by the name that the user knows it by.

        Raises:
            ConfigError: on every worker, and says which fact differs and where.
        """
        for name, fact in facts.items():
            digests = self.gather(int.from_bytes(hashlib.sha256(repr(fact).encode()).digest()[:7], "big"))
            others = [self.addresses[i] for i in range(self.count) if digests[i] != digests[0]]
            if others:
                raise ConfigError(f"the {name} of {', '.join(others)} differ from those of {self.addresses[0]}")

    def lost(self, error: tf.errors.OpError) -> str | None:
        """Which other worker a failed operation was waiting for, as text; None where that was not its trouble."""
        if self.count == 1:
            return None
        task = re.search(r"/task:(\d+)", error.message)
        gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
        if task and int(task[1]) != self.index and int(task[1]) < self.count:
            return f"worker {task[1]} ({self.addresses[int(task[1])]})"
        return "another worker" if isinstance(error, (*gone, tf.errors.CancelledError)) else None

    @contextlib.contextmanager
    def noticing_losses(self) -> Iterator[None]:
        """Around whatever the workers do together.

        Raises:
            Stopped: another worker is gone; says which.
        """
        try:
            yield
        except tf.errors.OpError as error:
            lost = self.lost(error)
            if lost is None:
                raise
            message = f"{lost} is gone; its own output says why. Then give the same command on all workers again."
            raise Stopped(message, LOST) from error

    @tf.function(autograph=False)
    def _sum(self, values: tf.Tensor) -> tf.Tensor:
        replicas = self.strategy.num_replicas_in_sync // self.count

        def of_first_replica() -> tf.Tensor:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group % replicas == 0
            return replica_sum(tf.where(first, values, tf.zeros_like(values)))

        return self.strategy.experimental_local_results(self.strategy.run(of_first_replica))[0]


def join_workers(strategy: str) -> Workers:
    """The workers of this strategy; for "multi_worker" it waits until all of them are there.

    - "mirrored": MirroredStrategy over all GPUs of this machine (all CPU devices where there is none);
    - "multi_worker": MultiWorkerMirroredStrategy over the processes that `TF_CONFIG` lists, each with its GPUs;
    - "one_device".

    Call it before any operation of TensorFlow.

    Raises:
        ConfigError: `TF_CONFIG` is missing, bad, or not meant.
        Stopped: the other workers cannot be joined.
    """
    addresses, index = read_tf_config()
    if strategy == "multi_worker" and not addresses:
        raise ConfigError(
            f"train.strategy=multi_worker finds the workers in {TF_CONFIG}, which is not set. Give "
            "--cluster=HOST:PORT,HOST:PORT --worker=INDEX on each, or start them all on this machine by "
            "python -m acfnet_tf.launch"
        )
    if strategy != "multi_worker" and len(addresses) > 1:
        raise ConfigError(
            f"{TF_CONFIG} lists {len(addresses)} workers, but train.strategy={strategy} is for one. "
            f"Give --set train.strategy=multi_worker, or unset {TF_CONFIG}"
        )
    if len(addresses) < 2:
        return Workers(_local_strategy(one_device=strategy == "one_device"))
    write_tf_config(addresses, index)  # as workers only, so that task numbers are those of the list
    if index == 0:
        print(f"Waiting for {len(addresses) - 1} other workers: {', '.join(addresses[1:])}", flush=True)
    try:
        workers = Workers(tf.distribute.MultiWorkerMirroredStrategy(), addresses, index)
    except tf.errors.OpError as error:  # for instance the cluster of before, which is not quite gone yet
        reason = error.message.splitlines()[0]
        raise Stopped(f"worker {index} ({addresses[index]}) cannot join the others: {reason}", LOST) from error
    # TensorFlow takes SIGTERM for a notice that it may ignore; it shall end the process, as elsewhere.
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return workers


def _local_strategy(one_device: bool) -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if one_device or len(devices) == 1:
        return tf.distribute.OneDeviceStrategy(devices[0])
    return tf.distribute.MirroredStrategy(devices)


def write_tf_config(addresses: Sequence[str], index: int) -> None:
    """Sets `TF_CONFIG` for this process.

    Raises:
        ConfigError: no such worker, or an address is not HOST:PORT.
    """
    task = {"type": "worker", "index": index}
    os.environ[TF_CONFIG] = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
    read_tf_config()


def read_tf_config() -> tuple[list[str], int]:
    """Addresses of the workers that `TF_CONFIG` lists, the chief first, and which of them this process is.

    Returns:
        ([], 0) where the variable is not set or lists no workers.

    Raises:
        ConfigError: it is set to something else.
    """
    text = os.environ.get(TF_CONFIG, "")
    if not text.strip():
        return [], 0
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        addresses = chiefs + workers
        if not addresses:
            return [], 0
        index = int(task["index"]) + (len(chiefs) if task["type"] == "worker" else 0)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        expected = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        raise ConfigError(f"{TF_CONFIG} = {text!r}: expected {expected}") from error
    if task["type"] not in ("chief", "worker") or not 0 <= index < len(addresses):
        raise ConfigError(f"there is no {task['type']} {task['index']} among the workers {', '.join(addresses)}")
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(f"worker {address!r}: expected HOST:PORT")
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"two workers have one address: {', '.join(addresses)}")
    return addresses, index
