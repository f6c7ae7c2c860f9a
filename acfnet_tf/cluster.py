"""Finds the devices of this machine, or the other processes of a cluster, over which training is spread."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence

import tensorflow as tf

from acfnet_tf.errors import ConfigError, Stopped, first_line
from acfnet_tf.training.workers import Workers

TF_CONFIG = "TF_CONFIG"
"""The environment variable in which TensorFlow programs find their cluster: JSON with the addresses of all workers and
the task of this one."""

LOST = signal.SIGTERM
"""Where the other workers are gone or not there yet, training ends as by this signal: a restart may mend it."""


@contextlib.contextmanager
def naming_lost_workers(workers: Workers) -> Iterator[None]:
    """Names the worker that is lost, around whatever they do together.

    Raises:
        Stopped: another worker is gone; says which.
    """
    try:
        yield
    except tf.errors.OpError as error:
        lost = lost_worker(workers, error)
        if lost is None:
            raise
        message = f"{lost} is gone; its own output says why. Then give the same command on all workers again."
        raise Stopped(message, LOST) from error


def lost_worker(workers: Workers, error: tf.errors.OpError) -> str | None:
    """Which other worker a failed operation was waiting for, as text; None where that was not its trouble."""
    if workers.count == 1:
        return None
    task = re.search(r"/task:(\d+)", error.message)
    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
    if task and int(task[1]) != workers.index and int(task[1]) < workers.count:
        return f"worker {task[1]} ({workers.addresses[int(task[1])]})"
    return "another worker" if isinstance(error, (*gone, tf.errors.CancelledError)) else None


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
        workers = Workers(_multi_worker_strategy(), addresses, index)
    except tf.errors.OpError as error:  # for instance the cluster of before, which is not quite gone yet
        reason = first_line(error)
        raise Stopped(f"worker {index} ({addresses[index]}) cannot join the others: {reason}", LOST) from error
    # TensorFlow takes SIGTERM for a notice that it may ignore; it shall end the process, as elsewhere.
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return workers


def _multi_worker_strategy() -> tf.distribute.Strategy:
    """Over the processes of `TF_CONFIG`. Sums go through NCCL where they have GPUs, and they have, or none has.

    By itself this strategy, unlike MirroredStrategy, sends what GPUs have to sum through the hosts.
    """
    # That there are GPUs has to be found out without starting TensorFlow, which comes after the strategy.
    implementation = "NCCL" if tf.config.list_physical_devices("GPU") else "AUTO"
    options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


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
