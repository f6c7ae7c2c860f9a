"""Two workers on one core each against one process on one core: images per second, and what exchanging data costs.

    python benchmarks/scaling.py                      # acf_aspp_small, batch 16 at 193×193 in every process
    python benchmarks/scaling.py --experiment=acf_aspp --crop=321 --batch=2 --rounds=4 --warmup=1

Weak scaling: a worker's batch is that of the one process, so that the global batch of two workers is twice as large,
and the ideal is twice the images per second. The workers are MultiWorkerMirroredStrategy over loopback. A step is all
of training but the input pipeline: forward, loss, backward, update, in float32, on random images.

The third side is the second without its all-reduces: two processes that share the machine's memory and caches and run
the same operations (synchronised BatchNorm takes more of them than that of one process), but neither transfer anything
nor wait for each other. The share of a step that is spent in all-reduce is 1 − its time / the time of two workers.

Only one side is alive at a time, because three would not fit into memory. They run in two passes, the second one
backwards, so that a machine that gets slower or faster in the meantime hits all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from sides import console, count, count_or_none
from train_step import CORES, ROOT, other_seconds, random_batch

SIDES = ALONE, TOGETHER, SILENT = "1 process", "2 workers", "2 workers, no exchange"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="acf_aspp_small", help="whose network, loss and optimizer to take")
    parser.add_argument("--crop", type=count, default=193, help="height and width of the crop")
    parser.add_argument("--batch", type=count, default=16, help="crops in a step of every process")
    parser.add_argument("--rounds", type=count, default=12, help="timed steps of each side, in two passes")
    parser.add_argument("--warmup", type=count_or_none, default=2, help="steps of each side before, in each pass")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.worker:
        work(flags)
    else:
        compare(flags)


# === One process ===


def work(flags: argparse.Namespace) -> None:
    """A process of a side: a line of JSON when ready, then one for each line read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what others print is not an answer
    sys.path.insert(0, str(ROOT))
    import keras
    import tensorflow as tf

    from acfnet_tf.cluster import join_workers
    from acfnet_tf.errors import ConfigError
    from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, head_losses
    from acfnet_tf.models.create import create_model
    from acfnet_tf.recipes import load_experiment
    from acfnet_tf.training.optimizer import create_optimizer
    from acfnet_tf.training.step import TrainStep

    try:
        experiment = load_experiment(flags.experiment)
    except ConfigError as error:
        sys.exit(str(error))
    if flags.worker == SILENT:
        silence()
    strategy = join_workers("one_device" if flags.worker == ALONE else "multi_worker").strategy
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = create_model(experiment.model)
        optimizer = create_optimizer(experiment.train, model.head_variables)
        optimizer.build(model.trainable_variables)
    loss = head_losses(experiment.train.loss, model.output, CITYSCAPES_CLASS_WEIGHTS)
    train_step = TrainStep(strategy, model, optimizer, loss, replica_batch=flags.batch, micro_batch=flags.batch)
    images, labels = (tf.constant(array) for array in random_batch(flags.batch, flags.crop))
    batch = strategy.experimental_distribute_values_from_function(lambda _: {"image": images, "label": labels})

    transfers = all_reduces(train_step._step.get_concrete_function(batch).graph)
    parameters = sum(variable.shape.num_elements() for variable in train_step.variables)
    about = {"transfers": transfers, "parameters": parameters, "tensorflow": tf.__version__, "keras": keras.__version__}
    print(json.dumps(about), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        finite = bool(train_step(batch)["finite"])
        seconds = time.perf_counter() - start
        if not finite:
            sys.exit("a step without an update, because its loss is not finite: its time says nothing")
        print(json.dumps(seconds), file=answers, flush=True)


def silence() -> None:
    """Makes `replica_sum` the identity, in every module that has imported it by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("acfnet_tf.") and hasattr(module, "replica_sum"):
            module.replica_sum = lambda values: values


def all_reduces(graph: Any) -> list[int]:
    """The bytes that each all-reduce of a traced step sums over the workers."""
    sent = [op.inputs[0] for op in graph.get_operations() if op.type.startswith("CollectiveReduce")]
    # The text has the functions that the graph calls as well.
    assert str(graph.as_graph_def()).count('op: "Collective') == len(sent), "all-reduces whose size is unknown"
    return [tensor.shape.num_elements() * tensor.dtype.size for tensor in sent]


# === One side ===


class Worker:
    """A process on a core of its own."""

    def __init__(
        self, side: str, flags: argparse.Namespace, core: int, tf_config: dict[str, Any], log: IO[str]
    ) -> None:
        command = [sys.executable, __file__, f"--worker={side}", f"--experiment={flags.experiment}"]
        command += [f"--crop={flags.crop}", f"--batch={flags.batch}"]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_CONFIG": json.dumps(tf_config)}
        self.log = log
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | environment,
            # Before Python starts: whatever counts the cores to choose its number of threads is to count one.
            preexec_fn=functools.partial(os.sched_setaffinity, 0, {core}),
        )

    def obituary(self) -> str:
        """How it ended, and the last it said."""
        status = self.process.wait()
        self.log.seek(0)
        last = "".join(self.log.readlines()[-20:])
        return f"{last}{' '.join(self.process.args[1:])} ended with status {status}"

    def end(self) -> None:
        """By force: it has nothing to save, and if it lost its partner it might wait for ever."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(side: str, flags: argparse.Namespace) -> Iterator[list[Worker]]:
    """The processes of a side, from their start to their end."""
    count = 1 if side == ALONE else 2
    with contextlib.ExitStack() as stack:
        # All ports before any is free again, so that they differ.
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    with contextlib.ExitStack() as stack:
        workers = []
        for index, core in enumerate(physical_cores()[:count]):
            tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}} if count > 1 else {}
            log = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            workers.append(Worker(side, flags, core, tf_config, log))
            stack.callback(workers[-1].end)
        yield workers


def answers(workers: list[Worker]) -> list[Any]:
    """The next line of each, in whichever order they come: one that dies must not leave us waiting for its partner."""
    lines: dict[int, Any] = {}
    pipes = {worker.process.stdout: index for index, worker in enumerate(workers)}
    while len(lines) < len(workers):
        for pipe in wait([pipe for pipe, index in pipes.items() if index not in lines]):
            line = pipe.readline()
            if not line:
                sys.exit(workers[pipes[pipe]].obituary())
            lines[pipes[pipe]] = json.loads(line)
    return [lines[index] for index in range(len(workers))]


def step(workers: list[Worker]) -> float:
    """Seconds of a step that all workers begin at once, their mean. Where they exchange data all take the same."""
    for worker in workers:
        print("step", file=worker.process.stdin, flush=True)
    return statistics.mean(answers(workers))


# === All sides ===


def compare(flags: argparse.Namespace) -> None:
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("scaling.py pins processes to cores, which this system does not offer: it needs Linux")
    if len(physical_cores()) < 2:
        sys.exit(f"scaling.py needs 2 cores, one for each worker; this machine has {len(physical_cores())}")

    about: dict[str, dict[str, Any]] = {}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    passes = ((SIDES, flags.rounds - flags.rounds // 2), (SIDES[::-1], flags.rounds // 2))
    for number, (sides, rounds) in enumerate(passes, start=1):
        for side in sides if rounds else ():
            with running(side, flags) as workers:
                about[side] = answers(workers)[0]
                if len(about) == 1:
                    describe(flags, about[side])
                for _ in range(flags.warmup):
                    step(workers)
                before, start = other_seconds(workers), time.perf_counter()
                timed = [step(workers) for _ in range(rounds)]
                other = (other_seconds(workers) - before) / (time.perf_counter() - start) / CORES
            seconds[side] += timed
            times = f"{rounds} steps, {statistics.median(timed):.3f} s ({min(timed):.3f}–{max(timed):.3f})"
            print(f"pass {number}, {side + ':':<24} {times}, other programs {other:.0%}", flush=True)

    transfers = about[TOGETHER]["transfers"]
    assert transfers, "two workers without an all-reduce"
    assert not about[SILENT]["transfers"], "an all-reduce that was to be left out"
    summarize(flags.batch, seconds)
    print(f"{len(transfers)} all-reduces in a step, of {sum(transfers) / 1e6:,.1f} MB together", end="")
    print(f" (gradients: {about[TOGETHER]['parameters'] * 4 / 1e6:,.1f} MB)")


def describe(flags: argparse.Namespace, about: dict[str, Any]) -> None:
    versions = f"Python {platform.python_version()}, TensorFlow {about['tensorflow']}, Keras {about['keras']}"
    print(f"{cpu_model()} ({platform.machine()} {platform.system()}), {CORES} cores, {versions}")
    print(f"{flags.experiment}, {about['parameters']:,} trainable parameters, {flags.crop}×{flags.crop}, float32")
    print(f"1 core and batch {flags.batch} for every process: the global batch of 2 workers is {2 * flags.batch}")


def summarize(batch: int, seconds: dict[str, list[float]]) -> None:
    """The table, and the share of all-reduce."""
    median = {side: statistics.median(times) for side, times in seconds.items()}
    print(f"{'side':<24} {'s/step':>8} {'images/s':>9} {'min–max':>15} {'to 1 process':>13}")
    for side, times in seconds.items():
        images = batch if side == ALONE else 2 * batch
        span = f"{images / max(times):.3f}–{images / min(times):.3f}"
        ratio = images / batch * median[ALONE] / median[side]
        print(f"{side:<24} {median[side]:>8.3f} {images / median[side]:>9.3f} {span:>15} {ratio:>13.2f}")
    share = 1 - median[SILENT] / median[TOGETHER]
    print(f"all-reduce (transfer, and waiting for the slower worker): {share:.1%} of a step of 2 workers")


def physical_cores() -> list[int]:
    """A processor number for each core that this process may use: of threads that share a core, the first."""
    first: dict[str, int] = {}
    for number in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        first.setdefault(siblings.read_text(encoding="utf-8") if siblings.exists() else str(number), number)
    return list(first.values())


def cpu_model() -> str:
    """As the kernel names it, or else the architecture."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    with console():
        main()
