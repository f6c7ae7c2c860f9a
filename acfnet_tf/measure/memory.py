"""How many samples go through at once: what memory allows when a run begins."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import psutil
import tensorflow as tf

from acfnet_tf.config import Experiment, TrainConfig
from acfnet_tf.errors import ConfigError
from acfnet_tf.measure.complexity import complexity
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.training.workers import Workers

ACTIVATION_COPIES = {"CPU": 1.2, "GPU": 1.0}
"""Memory that a sample takes in a training step, over the size of what its backward pass reads of the forward pass."""

VARIABLE_COPIES = 5
"""Memory that a step takes whatever the batch, over the size of the weights: gradients, their sums over
micro-batches, and working space; one more each with mixed precision and with rematerialisation. `benchmarks/README.md`
has the measurements behind these numbers: several on a CPU, two on one GPU."""

USABLE = 0.9
"""The fraction of the available memory that is planned for.

On a GPU the rest is for gaps between tensors, and for cuDNN's workspaces where they are larger than when the numbers
above were measured, which contain them. TensorFlow allows a convolution up to 8 GiB, but takes an algorithm that needs
none where there is no room, so that no more is set aside."""


def choose_micro_batch(
    model: ACFNet, experiment: Experiment, workers: Workers, recorded: int | None = None
) -> tuple[int, str]:
    """The micro-batch that is set, or that the run has had so far, or the largest that fits into memory.

    It is a number of samples of the global batch, over all devices, so that a run may move to other devices and compute
    the same.

    Args:
        workers: they agree on what the smallest of their devices can hold.
        recorded: the micro-batch of the run that is continued.

    Returns:
        Samples that go through at once, and a line for the user that says why.

    Raises:
        ConfigError: not even one sample on each device fits, the recorded micro-batch does not, or the one that is
            wanted does not divide the batch, or not evenly among the devices.
    """
    train, (height, width) = experiment.train, experiment.data.crop_size
    replicas = workers.strategy.num_replicas_in_sync
    sizes = _micro_batches(train, replicas)
    wanted = train.micro_batch or recorded
    if wanted is not None and wanted not in sizes:
        which = "" if train.micro_batch else ", with which the run began,"
        raise ConfigError(
            f"train.micro_batch = {wanted}{which} does not divide the batch of {train.batch_size} evenly on {replicas} "
            f"devices; choose one of {', '.join(map(str, sizes))} by --set train.micro_batch=N"
        )
    if train.micro_batch is not None:
        changed = recorded not in (None, wanted)
        change = f" It was {recorded}: from here on BatchNorm statistics are of {wanted} samples." if changed else ""
        return wanted, "Memory: not estimated, as train.micro_batch is set." + change + _how(wanted, train)

    gpus = _gpus(workers)
    fixed, per_sample = training_bytes(model, (height, width), train.rematerialize, "GPU" if gpus else "CPU")
    available = _available_bytes(workers) * USABLE
    fitting = replicas * int(workers.gather(math.floor((available - fixed) / per_sample)).min())
    need = f"{_readable(fixed)} and {_readable(per_sample)} for each {height}x{width} crop"
    free = _readable(available)
    if gpus:
        limit, used = min(gpus, key=lambda gpu: gpu[0] - gpu[1])
        free += f" (of {_readable(limit)}, of which {_readable(used)} are in use already; a tenth is left as a margin)"
    fits = [size for size in sizes if size <= fitting]
    if not fits:
        raise ConfigError(
            f"data.crop_size = {height},{width}: training needs about {need}, but {free} are free. "
            f"Set a smaller data.crop_size, or try all the same with --set train.micro_batch={recorded or replicas}"
        )
    if recorded is not None and recorded not in fits:
        raise ConfigError(
            f"train.micro_batch = {recorded}, with which the run began, does not fit: a step needs about {need}, but "
            f"{free} are free on each device. Free memory, or continue with --set "
            f"train.micro_batch={fits[-1]}, which changes the statistics of BatchNorm from here on; or try all the "
            f"same with --set train.micro_batch={recorded}"
        )
    micro_batch = recorded or fits[-1]
    why = " The run keeps its micro-batch." if recorded else ""
    line = f"Memory: {free} free on each device; a step needs about {need}.{why}"
    return micro_batch, line + _how(micro_batch, train)


def less_memory(train: TrainConfig, micro_batch: int, replicas: int) -> str:
    """What helps where a step with this micro-batch does not fit after all, a sentence for the user."""
    smaller = [size for size in _micro_batches(train, replicas) if size < micro_batch]
    continues = [f"train.micro_batch={smaller[-1]}"] if smaller else []
    continues += [] if train.rematerialize else ["train.rematerialize=true"]
    begins = [] if train.precision.startswith("mixed") else ["train.precision=mixed_bfloat16"]
    begins += [] if smaller else ["a smaller data.crop_size"]
    parts = [f"the run continues with --set {' or --set '.join(continues)}"] if continues else []
    parts += [f"a new one needs less with {' or '.join(begins)}"] if begins else []
    samples = "1 sample" if micro_batch == 1 else f"{micro_batch} samples"
    return f"a step on {samples} at once does not fit; {'; '.join(parts)}"


def _micro_batches(train: TrainConfig, replicas: int) -> list[int]:
    """All that divide the batch, and evenly among the replicas; the smallest first."""
    return [size for size in range(replicas, train.batch_size + 1, replicas) if train.batch_size % size == 0]


def _how(micro_batch: int, train: TrainConfig) -> str:
    """How the batch goes through, for the user."""
    if micro_batch == train.batch_size:
        return f" The batch of {train.batch_size} goes through at once."
    again = "; bootstrapping first looks at the whole batch, in a forward pass of its own" if train.loss.ohem else ""
    return (
        f" The batch of {train.batch_size} goes through in {train.batch_size // micro_batch} micro-batches of "
        f"{micro_batch}, gradients accumulated: BatchNorm statistics are per micro-batch{again}. "
        "(train.micro_batch=N sets another size.)"
    )


def training_bytes(
    model: ACFNet, size: tuple[int, int], rematerialize: bool = False, device_type: str = "CPU"
) -> tuple[int, int]:
    """Estimated bytes of a training step: (whatever the batch, for each sample of that height and width)."""
    activations = sum(part.activation_bytes for part in complexity(model, size))
    mixed = model.dtype_policy.name != "float32"
    fixed = (VARIABLE_COPIES + mixed + rematerialize) * model.count_params() * 4
    return fixed, round(ACTIVATION_COPIES[device_type] * activations)


def _available_bytes(workers: Workers) -> float:
    """Bytes that are free on one replica's device: of a GPU, or its part of the main memory (of this control group)."""
    gpus = _gpus(workers)
    if gpus:
        return min(limit - used for limit, used in gpus)
    available = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # There are no control groups, or the limit is "max".
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        available = min(available, limit)
    devices = workers.strategy.extended.worker_devices
    hosts = [address.rpartition(":")[0] for address in workers.addresses]
    return available / len(devices) / hosts.count(hosts[workers.index])


def _gpus(workers: Workers) -> list[tuple[int, int]]:
    """Of each GPU that this process trains on: bytes that TensorFlow may take, and those that it has in use.

    It may take what was free when it started, so that what other programs held then is not counted. In use are weights,
    momentum, averages and the model for inference, which are made before a micro-batch is chosen.
    """
    names = [name for name in workers.strategy.extended.worker_devices if "GPU" in name]
    if not names:
        return []
    from tensorflow.python.client import device_lib  # Nowhere else does TensorFlow say a GPU's limit.

    limits = {device.name: device.memory_limit for device in device_lib.list_local_devices()}
    return [
        (limits[name[name.rindex("/device:") :]], tf.config.experimental.get_memory_info(name)["current"])
        for name in names
    ]


def _readable(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size > 2**29 else f"{size / 2**20:.0f} MiB"
