"""What the ACF module costs in training: ACF(concat), and none at all, against ACF(sum).

    python benchmarks/acf.py                                      # the module on 97×97×512 features, 19 classes
    python benchmarks/acf.py --whole                              # in ResNet-101 + ASPP, batch 2 at 321×321
    python benchmarks/acf.py --size=9 --channels=16               # to try this program
    python benchmarks/acf.py --whole --size=65 --narrow

97×97 features are those of a 769×769 crop. The module is trained with a classifier in front of it and one behind it,
without ACF the latter alone; forward and backward, down to the features. With `--whole` it is a step of training as
in `train_step.py`: upsampling, loss and update too.

Each side is a process of its own, and they are asked in turn, so that whatever else the machine does hits all.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import psutil
from inference import measure
from scaling import cpu_model
from sides import CORES, ROOT, Worker, console, count, take_turns
from train_step import NARROW, build_ours, random_batch

SIDES = {"sum": "acf_sum", "concat": "acf_concat", "without": None}
REFERENCE = "sum"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="the whole network instead of the module")
    parser.add_argument(
        "--size", type=count, help="height and width: of the features (97), with --whole of a crop (321)"
    )
    parser.add_argument("--batch", type=count, help="samples in a step (1, with --whole 2)")
    parser.add_argument("--channels", type=count, default=512, help="of the features, without --whole")
    parser.add_argument("--narrow", action="store_true", help="a small network, with --whole")
    parser.add_argument("--rounds", type=count, default=7, help="timed turns of each side")
    parser.add_argument("--repeat", type=count, help="steps in a turn (10, with --whole 1)")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    flags.size = flags.size or (321 if flags.whole else 97)
    flags.batch = flags.batch or (2 if flags.whole else 1)
    flags.repeat = flags.repeat or (1 if flags.whole else 10)
    if min(flags.size, flags.batch, flags.repeat, flags.rounds) < 1:
        parser.error("--size, --batch, --repeat and --rounds: at least 1")
    if flags.worker:
        take_turns(lambda: start(flags))
    else:
        compare(flags)


# === One side ===


def start(flags: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], dict[str, Any]]]:
    """One side's process: what it says of itself, and a function that takes its turn."""
    step = (whole_network if flags.whole else module_alone)(flags)

    def turn() -> dict[str, Any]:
        for _ in range(flags.repeat):
            step()
        return {}

    return {"version": sys.modules["tensorflow"].__version__, "before": psutil.Process().memory_info().rss}, turn


def whole_network(flags: argparse.Namespace) -> Callable[[], Any]:
    _, step = build_ours(class_feature=SIDES[flags.worker], **(NARROW if flags.narrow else {}))
    batch = random_batch(flags.batch, flags.size)
    return lambda: step(*batch)


def module_alone(flags: argparse.Namespace) -> Callable[[], Any]:
    sys.path.insert(0, str(ROOT))
    import keras
    import tensorflow as tf

    from acfnet_tf.layers import AttentionalClassFeature

    features = keras.Input((None, None, flags.channels))
    coarse, refined = [], features
    if flags.worker != "without":
        coarse = [keras.layers.Conv2D(19, 1)(features)]
        refined = AttentionalClassFeature(flags.channels, flags.worker)(features, *coarse)
    model = keras.Model(features, [*coarse, keras.layers.Conv2D(19, 1)(refined)])

    @tf.function
    def step(batch: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            logits = model(batch, training=True)
        return tape.gradient(logits, [batch, *model.trainable_variables])

    shape = (flags.batch, flags.size, flags.size, flags.channels)
    batch = tf.constant(np.random.default_rng(0).random(shape, np.float32))
    return lambda: step(batch)


# === Time and memory ===


def compare(flags: argparse.Namespace) -> None:
    arguments = [f"--{name}={getattr(flags, name)}" for name in ("size", "batch", "channels", "repeat")]
    arguments += [f"--{name}" for name in ("whole", "narrow") if getattr(flags, name)]
    workers = {side: Worker(__file__, f"--worker={side}", *arguments) for side in SIDES}
    version = f"TensorFlow {workers[REFERENCE].about['version']}"
    print(f"{platform.machine()} ({cpu_model()}), {CORES} cores, Python {platform.python_version()}, {version}")
    network = "a narrow network" if flags.narrow else "ResNet-101 (stride 8) + ASPP"
    what = f"{network}, crops" if flags.whole else f"the module alone, {flags.channels} channels"
    print(f"{what} of {flags.size}×{flags.size}, batch {flags.batch}, 19 classes, float32, turns of {flags.repeat}\n")
    for _ in range(2):
        for worker in workers.values():
            worker.step()
    rounds = measure(workers, flags.rounds)
    print("\n" + table(rounds, {side: worker.about["before"] for side, worker in workers.items()}, flags.repeat))
    for worker in workers.values():
        worker.close()


def table(rounds: Sequence[Mapping[str, Mapping[str, float]]], before: Mapping[str, int], repeat: int) -> str:
    """Markdown. Memory of a step is the peak above what the process held before its first one."""
    ratio = f"× {REFERENCE}"
    lines = [f"| ACF | ms a step | {ratio} | peak MiB | {ratio} | of a step | {ratio} |", "|---" * 7 + "|"]
    peaks = {side: rounds[-1][side]["peak"] for side in before}
    steps = {side: peaks[side] - before[side] for side in before}
    for side in before:
        seconds = statistics.median(answers[side]["seconds"] for answers in rounds) / repeat
        slower = statistics.median(answers[side]["seconds"] / answers[REFERENCE]["seconds"] for answers in rounds)
        cells = [side, f"{1000 * seconds:,.1f}", f"{slower:.3f}"]
        for memory in (peaks, steps):
            cells += [f"{memory[side] / 2**20:,.0f}", f"{memory[side] / memory[REFERENCE]:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with console():
        main()
