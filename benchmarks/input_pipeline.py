"""Images per second that training's input pipeline supplies, against PyTorch's DataLoader with OpenCV.

    python benchmarks/input_pipeline.py                      # PNG of 1024×2048, crops of 769×769, all cores
    python benchmarks/input_pipeline.py --format=jpeg        # the images as JPEG of quality 95; masks stay PNG
    python benchmarks/input_pipeline.py --cores=1 --crop=513

Both sides read, decode, scale by 0.5 to 2, crop, flip, pad, map labelIds to trainIds and make batches of the same
generated street scenes. Ours is `training_dataset`, without and with its cache of decoded images. Theirs are the
transforms of mmsegmentation as plain functions, in as many worker processes as there are cores, one thread each:
`cv2.imread`, `cv2.resize` of the whole picture, crop, flip, pad. Each ends with what its own training takes, ours with
float32 images and uint8 labels, theirs with uint8 images and int64 labels: to make floats is work of our side only.

Not compared: disks (all files are in the page cache), photometric distortion and mmsegmentation's `cat_max_ratio` (both
off), copies to a GPU, and a training step that wants the same cores.

Each side is a process pinned to the same cores, and one works at a time: in every round all take their turn, in every
second one backwards. The clock of a turn runs from its first batch to its last, as training starts an epoch but once.
CPU seconds are those of the process with all its threads and worker processes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
from PIL import Image
from scaling import cpu_model, physical_cores
from sides import console, count
from train_step import CORES, QUIET, ROOT

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

SCALE_RANGE = (0.5, 2.0)


@dataclass(frozen=True)
class Setup:
    """What all sides are given."""

    samples: tuple[tuple[str, str, str], ...]
    """Name, image and mask of each."""
    train_ids: bytes
    """labelId → trainId, for PyTorch's side, into whose process our package would bring TensorFlow."""
    crop: int
    batch: int
    cores: int
    cache: str

    def indices(self, turn: int) -> range:
        """Of a turn: every sample once (index modulo their number), augmented otherwise than in other turns."""
        return range(turn * len(self.samples), (turn + 1) * len(self.samples))


class Turn(NamedTuple):
    """Seconds for each image."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=count, nargs=2, default=(1024, 2048), metavar=("H", "W"), help="of the images")
    parser.add_argument("--format", choices=("png", "jpeg"), default="png", help="of the images")
    parser.add_argument("--crop", type=count, default=769, help="height and width of the crop")
    parser.add_argument("--batch", type=count, default=2, help="crops in a batch")
    parser.add_argument("--images", type=count, default=64, help="how many there are; a turn takes each of them once")
    parser.add_argument("--rounds", type=count, default=10, help="timed turns of each side, after one to warm up")
    parser.add_argument("--cores", type=count, default=CORES, help="how many cores each side may use")
    flags = parser.parse_args()
    if flags.images % flags.batch or flags.images < 2 * flags.batch:
        parser.error(f"--images={flags.images}: must be a multiple of --batch={flags.batch}, and 2 batches at least")
    for module in ("torch", "cv2"):
        if not importlib.util.find_spec(module):
            sys.exit(f'input_pipeline.py needs {module}: pip install -e ".[benchmark]"')
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("input_pipeline.py pins processes to cores, which this system does not offer: it needs Linux")
    if flags.cores > len(physical_cores()):
        parser.error(f"--cores={flags.cores}: this machine has {len(physical_cores())}")
    with tempfile.TemporaryDirectory() as folder:
        compare(flags, Path(folder))


# === Our side ===


def our_training(setup: Setup, turn: int, *, cache: bool = False) -> tf.data.Dataset:
    from acfnet_tf.config import DataConfig
    from acfnet_tf.data.cityscapes import CITYSCAPES
    from acfnet_tf.data.sample import Sample
    from acfnet_tf.training_data.dataset import training_dataset

    samples = [Sample(*sample) for sample in setup.samples]
    config = DataConfig(
        crop_size=(setup.crop, setup.crop),
        scale_range=SCALE_RANGE,
        parallel_calls=setup.cores,
        cache=setup.cache if cache else None,
    )
    span = {"first_sample": setup.indices(turn).start, "last_sample": setup.indices(turn).stop}
    return training_dataset(samples, CITYSCAPES, config, seed=0, batch_size=setup.batch, **span)


def our_decoding(setup: Setup, turn: int) -> tf.data.Dataset:
    """Batches of one pixel of each image and mask, so that nothing but decoding takes time."""
    import tensorflow as tf

    from acfnet_tf.data.cityscapes import CITYSCAPES
    from acfnet_tf.data.decoding import Decoder
    from acfnet_tf.data.sample import Sample

    decode = Decoder([Sample(*sample) for sample in setup.samples], CITYSCAPES)

    def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, values = decode(index % len(setup.samples))
        return image[0, 0], values[0, 0]

    dataset = tf.data.Dataset.range(setup.indices(turn).start, setup.indices(turn).stop)
    return dataset.map(load, num_parallel_calls=setup.cores).batch(setup.batch).prefetch(2)


# === PyTorch's side ===


@functools.cache
def torch_loader(setup: Setup, decode_only: bool) -> tuple[torch.utils.data.DataLoader, list[int]]:
    """A loader whose worker processes live on between turns, and the list from which it takes its indices."""
    import cv2
    from torch.utils.data import DataLoader

    indices = list(setup.indices(0))
    loader = DataLoader(
        OpenCVSamples(setup, decode_only),
        setup.batch,
        sampler=indices,
        num_workers=setup.cores,
        persistent_workers=True,
        multiprocessing_context="fork",
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )
    return loader, indices


def torch_training(setup: Setup, turn: int, *, decode_only: bool = False) -> torch.utils.data.DataLoader:
    loader, indices = torch_loader(setup, decode_only)
    indices[:] = setup.indices(turn)
    return loader


class OpenCVSamples(NamedTuple):
    """A PyTorch data set."""

    setup: Setup
    decode_only: bool

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray] | tuple[torch.Tensor, torch.Tensor]:
        import cv2

        _, image_path, mask_path = self.setup.samples[index % len(self.setup.samples)]
        image = cv2.imread(image_path, cv2.IMREAD_COLOR)
        mask = cv2.imread(mask_path, cv2.IMREAD_UNCHANGED)
        if self.decode_only:
            return image[0, 0], mask[0, 0]
        return augment_with_opencv(image, mask, self.setup, np.random.default_rng(index))


def augment_with_opencv(
    image: np.ndarray, mask: np.ndarray, setup: Setup, chance: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """RandomResize, RandomCrop, RandomFlip, Pad and PackSegInputs of mmsegmentation.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8 labelIds.

    Returns:
        (3, crop, crop) uint8 and (1, crop, crop) int64.
    """
    import cv2
    import torch

    scale, crop = chance.uniform(*SCALE_RANGE), setup.crop
    height, width = (int(length * scale + 0.5) for length in mask.shape)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    top, left = (chance.integers(0, max(length - crop, 0) + 1) for length in (height, width))
    image, mask = (array[top : top + crop, left : left + crop] for array in (image, mask))
    if chance.random() < 0.5:
        image, mask = np.flip(image, 1), np.flip(mask, 1)
    # mmsegmentation reads masks of trainIds. Here, after the crop, the table costs least.
    label = cv2.LUT(mask, np.frombuffer(setup.train_ids, np.uint8))
    if label.shape != (crop, crop):
        border = (0, crop - label.shape[0], 0, crop - label.shape[1], cv2.BORDER_CONSTANT)
        image = cv2.copyMakeBorder(image, *border, value=(0, 0, 0))
        label = cv2.copyMakeBorder(label, *border, value=255)
    image = np.ascontiguousarray(image.transpose(2, 0, 1))
    return torch.from_numpy(image), torch.from_numpy(label[None].astype(np.int64))


# === All sides ===

OURS, THEIRS, THEIR_DECODING = "acfnet_tf", "PyTorch + OpenCV", "PyTorch + OpenCV, decoding only"
SIDES = {
    OURS: our_training,
    "acfnet_tf, decoded cache": functools.partial(our_training, cache=True),
    THEIRS: torch_training,
    "acfnet_tf, decoding only": our_decoding,
    THEIR_DECODING: functools.partial(torch_training, decode_only=True),
}


def compare(flags: argparse.Namespace, folder: Path) -> None:
    new_process = functools.partial(
        ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"), start, (physical_cores()[: flags.cores],)
    )
    rounds, others = [], []
    with contextlib.ExitStack() as stack:
        processes = {side: stack.enter_context(new_process()) for side in SIDES}
        setup = processes[OURS].submit(prepare, flags, folder).result()
        for number in range(flags.rounds + 1):
            before, start_time = other_seconds(), time.perf_counter()
            sides = list(SIDES)[:: -1 if number % 2 else 1]
            rounds.append({side: processes[side].submit(take_turn, side, setup, number).result() for side in sides})
            others.append(max(other_seconds() - before, 0) / (time.perf_counter() - start_time) / CORES)
            print(f"round {number} of {flags.rounds}: other programs {others[-1]:.0%}", file=sys.stderr)
    rounds, others = rounds[1:], others[1:]
    quiet = [turns for turns, other in zip(rounds, others, strict=True) if other < QUIET] or rounds

    versions = ", ".join(f"{m} {version(packages_distributions()[m][0])}" for m in ("tensorflow", "torch", "cv2"))
    print(f"{cpu_model()} ({platform.machine()} {platform.system()}), Python {platform.python_version()}, {versions}")
    print(f"{flags.images} {flags.format.upper()} images of {flags.size[0]}×{flags.size[1]}, ", end="")
    print(f"crop {flags.crop}×{flags.crop}, batch {flags.batch}, {flags.cores} of {CORES} cores")
    print(f"medians of the {len(quiet)} quietest of {flags.rounds} rounds; other programs took", end=" ")
    print(f"{statistics.median(sorted(others)[: len(quiet)]):.0%} of the processor in them\n")
    print_table(quiet, flags.cores)


def start(cores: list[int]) -> None:
    """Pins this process, before TensorFlow or PyTorch count the cores that they may use."""
    os.sched_setaffinity(0, cores)
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    sys.path.insert(0, str(ROOT))


def prepare(flags: argparse.Namespace, folder: Path) -> Setup:
    """Draws the scenes under ./data, or finds those of an earlier run."""
    from acfnet_tf.data.cityscapes import CITYSCAPES
    from acfnet_tf.importers.cityscapes import list_samples
    from acfnet_tf.scenes.street_scenes import write_street_scenes

    height, width = flags.size
    root = Path("data") / f"street_scenes_{height}x{width}_{flags.images}+0+0_seed0"
    samples = list_samples(write_street_scenes(root, train=flags.images, val=0, test=0, size=(height, width)), "train")
    if flags.format == "jpeg":
        pngs, samples = samples, [sample._replace(image=str(folder / f"{sample.name}.jpg")) for sample in samples]
        for png, sample in zip(pngs, samples, strict=True):
            Image.open(png.image).save(sample.image, quality=95)
    train_ids, cache = CITYSCAPES.table[:256].tobytes(), str(folder / "decoded")
    return Setup(tuple(map(tuple, samples)), train_ids, flags.crop, flags.batch, flags.cores, cache)


def take_turn(side: str, setup: Setup, turn: int) -> Turn:
    batches = iter(SIDES[side](setup, turn))
    next(batches)
    cpu_seconds, seconds = process_seconds(), time.perf_counter()
    images = setup.batch * sum(1 for _ in batches)
    return Turn((time.perf_counter() - seconds) / images, (process_seconds() - cpu_seconds) / images)


def process_seconds() -> float:
    """Processor time of this process and of those that it has started, while they live."""
    process = psutil.Process()
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def other_seconds() -> float:
    """Processor time of everything else, since the machine started."""
    times = psutil.cpu_times()
    return sum(times[:8]) - times.idle - getattr(times, "iowait", 0.0) - process_seconds()


def print_table(rounds: list[dict[str, Turn]], cores: int) -> None:
    """Ratios are those within a round: their median is not exactly the ratio of the medians."""
    print("| | images/s | per core | to PyTorch | CPU ms an image | to PyTorch |")
    print("|---|---|---|---|---|---|")
    for side in SIDES:
        pairs = [(turns[side], turns[THEIR_DECODING if "decoding" in side else THEIRS]) for turns in rounds]
        speed = 1 / statistics.median(turn.seconds for turn, _ in pairs)
        cpu = statistics.median(turn.cpu_seconds for turn, _ in pairs)
        speeds = statistics.median(theirs.seconds / turn.seconds for turn, theirs in pairs)
        cpus = statistics.median(turn.cpu_seconds / theirs.cpu_seconds for turn, theirs in pairs)
        print(f"| {side} | {speed:.1f} | {speed / cores:.1f} | {speeds:.2f} × | {cpu * 1e3:.1f} | {cpus:.2f} × |")


if __name__ == "__main__":
    with console():
        main()
