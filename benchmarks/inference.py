"""Time and memory of labelling one image: every way that this package offers, and PyTorch.

    python benchmarks/inference.py                                     # all sides at 513×513
    python benchmarks/inference.py --size=1025x2049 --sides=keras,predictor_main,predictor_openvino,torch
    python benchmarks/inference.py --size=129x129 --narrow             # to try this program
    python benchmarks/inference.py --device=gpu                        # `Predictor` and PyTorch at 1024×2048

One network for all: ResNet-101 (stride 8) + ASPP + ACF(sum), 19 classes, float32, with random weights, which PyTorch
(`torch_acfnet.py`) is given too. A generated street scene goes in as (H, W, 3) uint8, labels come out as (H, W) uint8.

The network is made, saved and exported first, by processes that then end. Each side (`inference_sides.py`) is a
process of its own that loads what was saved and labels the scene once, so that its peak memory is that of loading and
labelling. Then all are asked for one image in turn, so that whatever else the machine does hits all of them.

On a GPU, `Predictor` is compared with PyTorch, eager and `torch.compile`, at every precision (PyTorch: TF32 allowed or
not, autocast), fine head only. Each is a process that has the card for itself. The image comes from the host's memory
as uint8, and the labels go there as uint8, whose copies are in the time. The labels are compared with those of
`Predictor` in float32, which is always measured. Peaks are what the allocators gave out on the card from the start.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gpu
import inference_gpu
import numpy as np
import psutil
from inference_sides import LABELS, SIDES
from scaling import cpu_model
from sides import CORES, QUIET, Worker, console, count, count_or_none, other_seconds

PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "onnxruntime", "openvino", "torch")
TRUTH, REFERENCE = "keras", "torch"
"""Whose labels, and whose time and memory, the others are compared with."""
SCRIPT = str(Path(__file__).with_name("inference_sides.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size, metavar="HxW", help="of the image (513x513, on a GPU 1024x2048)")
    parser.add_argument(
        "--sides", type=gpu.names(SIDES), help=f"some of {','.join(SIDES)} (on a GPU {','.join(inference_gpu.TITLES)})"
    )
    parser.add_argument("--rounds", type=count, help="timed images of each side (7, on a GPU 50)")
    parser.add_argument(
        "--warmup", type=count_or_none, help="images of each side before, after its first (1, on a GPU 10)"
    )
    parser.add_argument("--narrow", action="store_true", help="a small network")
    _, of_gpu = gpu.add_flags(parser)
    flags = parser.parse_args()
    gpu.check_flags(parser, flags, of_gpu)
    on_gpu = flags.device == "gpu"
    flags.size = flags.size or ((1024, 2048) if on_gpu else (513, 513))
    flags.sides = flags.sides or list(inference_gpu.TITLES if on_gpu else SIDES)
    flags.rounds = flags.rounds or (50 if on_gpu else 7)
    flags.warmup = (10 if on_gpu else 1) if flags.warmup is None else flags.warmup
    if on_gpu:
        if set(flags.sides) - set(inference_gpu.TITLES):
            parser.error(f"--sides: with --device=gpu there are {', '.join(inference_gpu.TITLES)}")
        with tempfile.TemporaryDirectory() as folder:
            prepare(flags, Path(folder))
            inference_gpu.compare(flags, Path(folder))
        return
    if any(side.startswith("torch") for side in flags.sides) and not importlib.util.find_spec("torch"):
        sys.exit('inference.py needs torch: pip install -e ".[benchmark]"; or name other sides by --sides')
    with tempfile.TemporaryDirectory() as folder:
        compare(flags, Path(folder))


def size(text: str) -> tuple[int, int]:
    height, width = map(count, text.split("x"))
    return height, width


def compare(flags: argparse.Namespace, folder: Path) -> None:
    print(f"{platform.machine()} ({cpu_model()}), {CORES} cores, Python {platform.python_version()}, {versions()}")
    network = "a narrow network" if flags.narrow else "ResNet-101 (stride 8) + ASPP + ACF(sum)"
    print(f"{network}, one image of {'×'.join(map(str, flags.size))}, float32\n", flush=True)
    prepare(flags, folder)
    workers, errors = start(flags.sides, folder)
    for _ in range(flags.warmup):
        for worker in workers.values():
            worker.step()
    rounds = measure(workers, flags.rounds)
    print("\n" + table(rounds, errors, folder))
    for worker in workers.values():
        worker.close()


def versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def prepare(flags: argparse.Namespace, folder: Path) -> None:
    """Writes what the sides load. Converters take gigabytes and keep them: each gets a process of its own."""
    for_torch = any(side.startswith("torch") for side in flags.sides)
    run("prepare", folder, size=flags.size, narrow=flags.narrow, for_torch=for_torch)
    for format in dict.fromkeys(SIDES[side].format for side in flags.sides):
        if format is not None:
            run("export", folder, format=format)


def run(task: str, folder: Path, **arguments: Any) -> None:
    command = [sys.executable, SCRIPT, task, str(folder), json.dumps(arguments)]
    if status := subprocess.run(command).returncode:
        sys.exit(f"{' '.join(command)} ended with status {status}; other sides can be named by --sides")


def start(sides: Sequence[str], folder: Path) -> tuple[dict[str, Worker], dict[str, str]]:
    """The processes of the sides, and what is wrong with the sides that cannot label an image here."""
    workers, errors, largest = {}, {}, 0
    for side in sides:
        # Half as much again: memory that the others gave back after their image they will take once more.
        free = psutil.virtual_memory().available
        if free < 1.5 * largest:
            ready = ",".join(workers)
            sys.exit(
                f"{side} does not fit into memory beside {ready}: {free >> 20:,} MiB are free, and one of them took "
                f"{largest >> 20:,} MiB. Name fewer by --sides; {REFERENCE} and {TRUTH} are what others compare with"
            )
        worker = Worker(SCRIPT, side, str(folder))
        if "error" in worker.about:
            errors[side] = worker.about["error"]
            worker.close()
        else:
            workers[side] = worker
            largest = max(largest, worker.about["peak"])
    if not workers:
        sys.exit("none of the sides can label an image; why is said above")
    return workers, errors


def measure(workers: Mapping[str, Worker], count: int) -> list[dict[str, dict[str, float]]]:
    """The sides' answers in every quiet round, or in all rounds if none was quiet."""
    print(f"{'round':>5}  {'  '.join(workers)}  other programs")
    rounds, quiet = [], []
    for number in range(count):
        before, began = other_seconds(workers.values()), time.perf_counter()
        order = list(workers) if number % 2 == 0 else list(reversed(workers))
        rounds.append({side: workers[side].step() for side in order})
        other = (other_seconds(workers.values()) - before) / (time.perf_counter() - began) / CORES
        if other < QUIET:
            quiet.append(rounds[-1])
        seconds = "  ".join(f"{rounds[-1][side]['seconds']:>{len(side)}.3f}" for side in workers)
        print(f"{number + 1:>5}  {seconds}  {other:>14.0%}{'' if other < QUIET else '  left out'}", flush=True)
    if not quiet:
        print(f"NO ROUND WAS QUIET (other programs below {QUIET:.0%}): all count, and none is to be believed")
    else:
        print(f"medians of {len(quiet)} quiet rounds (other programs below {QUIET:.0%}) of {count}")
    return quiet or rounds


def table(rounds: Sequence[Mapping[str, Mapping[str, float]]], errors: Mapping[str, str], folder: Path) -> str:
    """Markdown."""
    lines = ["| side | median s | × PyTorch | peak MiB | × PyTorch | labels as Keras's |", "|---|---|---|---|---|---|"]
    for side in rounds[0]:
        seconds = statistics.median(answers[side]["seconds"] for answers in rounds)
        peak = rounds[-1][side]["peak"]
        ratio = memory = equal = "–"
        if REFERENCE in rounds[0]:
            ratio = f"{statistics.median(a[side]['seconds'] / a[REFERENCE]['seconds'] for a in rounds):.2f}"
            memory = f"{peak / rounds[-1][REFERENCE]['peak']:.2f}"
        if TRUTH in rounds[0]:
            truth, labels = (np.load(folder / LABELS.format(side=name)) for name in (TRUTH, side))
            equal = f"{np.mean(truth == labels):.3%}"
        lines.append(f"| {SIDES[side].title} | {seconds:.3f} | {ratio} | {peak / 2**20:,.0f} | {memory} | {equal} |")
    lines += [f"| {SIDES[side].title} | failed: {error} |||||" for side, error in errors.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    with console():
        main()
