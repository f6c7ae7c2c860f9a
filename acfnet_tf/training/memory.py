"""How many samples go through a replica at once: what memory allows."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

from acfnet_tf.config import ConfigError, Experiment
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.complexity import complexity
from acfnet_tf.training.strategy import Workers

ACTIVATION_COPIES = 1.2
"""Memory that a sample takes in a training step, over the size of what its backward pass reads of the forward pass."""

VARIABLE_COPIES = 5
"""Memory that a step takes whatever the batch, over the size of the weights: gradients, their sums over
micro-batches, and working space; one more each with mixed precision and with rematerialisation. `benchmarks/README.md`
has the measurements behind these numbers."""

USABLE = 0.9
"""Share of the available memory that is planned for."""


def choose_micro_batch(model: ACFNet, experiment: Experiment, workers: Workers) -> tuple[int, str]:
    """The largest micro-batch that divides a replica's batch and fits into memory, or the one that is set.

    Workers agree on the smallest of theirs.

    Returns:
        Samples that go through a replica at once, and a line for the user that says why.

    Raises:
        ConfigError: not even one sample fits, or `train.micro_batch` does not divide a replica's batch.
    """
    chosen, (height, width) = experiment.train.micro_batch, experiment.data.crop_size
    replica_batch = experiment.train.batch_size // workers.strategy.num_replicas_in_sync
    if chosen is not None:
        if chosen < 1 or replica_batch % chosen:
            raise ConfigError(f"train.micro_batch = {chosen} does not divide {replica_batch}, the batch of one device")
        return chosen, "Memory: not estimated, as train.micro_batch is set." + _how(chosen, replica_batch)

    fixed, per_sample = training_bytes(model, (height, width), experiment.train.rematerialize)
    available = _available_bytes(workers) * USABLE
    fitting = math.floor((available - fixed) / per_sample)
    need = f"{_readable(fixed)} and {_readable(per_sample)} for each {height}x{width} crop"
    if fitting < 1:
        raise ConfigError(
            f"data.crop_size = {height},{width}: training needs about {need}, but {_readable(available)} are free. "
            "Set a smaller data.crop_size, or try all the same with --set train.micro_batch=1"
        )
    micro_batch = max(size for size in range(1, replica_batch + 1) if replica_batch % size == 0 and size <= fitting)
    micro_batch = int(workers.gather(micro_batch).min())
    line = f"Memory: {_readable(available)} free on each device; a step needs about {need}."
    return micro_batch, line + _how(micro_batch, replica_batch)


def _how(micro_batch: int, replica_batch: int) -> str:
    if micro_batch == replica_batch:
        return f" The batch of {replica_batch} goes through at once."
    return (
        f" The batch of {replica_batch} goes through in {replica_batch // micro_batch} micro-batches of {micro_batch}, "
        "gradients accumulated: BatchNorm statistics are per micro-batch. (train.micro_batch=N sets another size.)"
    )


def training_bytes(model: ACFNet, size: tuple[int, int], rematerialize: bool = False) -> tuple[int, int]:
    """Estimated bytes of a training step: (whatever the batch, for each sample of that height and width)."""
    activations = sum(part.activation_bytes for part in complexity(model, size))
    mixed = model.dtype_policy.name != "float32"
    fixed = (VARIABLE_COPIES + mixed + rematerialize) * model.count_params() * 4
    return fixed, round(ACTIVATION_COPIES * activations)


def _available_bytes(workers: Workers) -> float:
    """Of one replica's device: the limit of a GPU, or its share of the main memory (within this control group)."""
    devices = workers.strategy.extended.worker_devices
    if "GPU" in devices[0]:
        # TensorFlow says a GPU's limit only here.
        from tensorflow.python.client import device_lib

        return min(device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU")
    available = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        available = min(available, limit)
    except (OSError, ValueError):  # no control groups, or "max": no limit
        pass
    hosts = [address.rpartition(":")[0] for address in workers.addresses]
    return available / len(devices) / hosts.count(hosts[workers.index])


def _readable(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size > 2**29 else f"{size / 2**20:.0f} MiB"
