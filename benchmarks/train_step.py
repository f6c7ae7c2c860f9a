"""Time and memory of one training step, against the same network in PyTorch.

    python benchmarks/train_step.py                      # ResNet-101, ASPP, ACF(sum); batch 2 at 321×321
    python benchmarks/train_step.py --crop=513 --batch=1
    python benchmarks/train_step.py --check              # that both train the same network, on a narrow one
    python benchmarks/train_step.py --device=gpu         # batch 8 at 769×769; every precision, XLA and torch.compile
    python benchmarks/train_step.py --device=gpu --precisions=mixed_bfloat16 --sides=acfnet_tf,torch --profile=profile

Both sides do forward, upsampling of three heads, class-balanced cross entropy, backward and SGD with momentum and L2,
in float32 on all cores: ours by `acfnet_tf.training`, PyTorch (`torch_acfnet.py`) eager in channels_last.
Each is a process of its own, and they are asked for one step in turn, so that whatever else the machine does hits both.

On a GPU, each side at each precision is a process that has the card for itself. The batch stays on the card. A step is
waited for as a training does: ours reads its numbers as `main.py --mode=train`, PyTorch calls `loss.item()`, as most
loops do. PyTorch runs network and loss under autocast, with a GradScaler for float16; torch.compile compiles both.
TF32 is allowed or not to convolutions and matrix products alike; what mixed precision leaves in float32 may be in TF32.
The first step includes tracing, compilation and the choice of algorithms, but not the making of the network. Peaks are
what the allocators had given out at most, from the start: neither what they reserve, nor CUDA's own. Achieved TFLOP/s
are those of our graph's multiply-adds, for all sides alike: 2 × 3 × those of the forward pass.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import gpu
import numpy as np
from sides import CORES, QUIET, ROOT, Worker, console, count, count_or_none, other_seconds, take_turns

SIDES = ("acfnet_tf", "PyTorch")
GPU_SIDES = {
    "acfnet_tf": "acfnet_tf",
    "acfnet_tf_xla": "acfnet_tf, `xla=true`",
    "acfnet_tf_no_xla": "acfnet_tf, `xla=false`",
    "acfnet_tf_deterministic": "acfnet_tf, `deterministic=true`",
    "torch": "PyTorch, eager",
    "torch_compile": "PyTorch, `torch.compile`",
}
"""Their titles in tables."""
USUAL = ["acfnet_tf", "acfnet_tf_xla", "torch", "torch_compile"]
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
NARROW = {"backbone": "resnet50", "width": 8, "channels": 32, "aspp_rates": (3, 6, 9)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crop", type=count, help="height and width of the crop (321, on a GPU 769)")
    parser.add_argument("--batch", type=count, help="crops in a step (2, on a GPU 8)")
    parser.add_argument("--rounds", type=count, help="timed steps of each side (5, on a GPU 20)")
    parser.add_argument("--warmup", type=count_or_none, help="steps of each side before (2, on a GPU 5 and a first)")
    parser.add_argument("--check", action="store_true", help="compare both sides' numbers instead of their times")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    group, of_gpu = gpu.add_flags(parser)
    of_gpu += [
        group.add_argument(
            "--sides",
            type=gpu.names(GPU_SIDES),
            default=USUAL,
            help=f"some of {','.join(GPU_SIDES)} ({','.join(USUAL)})",
        ),
        group.add_argument("--profile", metavar="DIR", help="also profile one step of our sides, into this folder"),
        group.add_argument("--peak", type=float, metavar="TFLOP/s", help="of the card, at the one precision measured"),
        group.add_argument("--narrow", action="store_true", help="a small network, to try this program"),
    ]
    flags = parser.parse_args()
    gpu.check_flags(parser, flags, of_gpu)
    for name, on_cpu, on_gpu in (("crop", 321, 769), ("batch", 2, 8), ("rounds", 5, 20), ("warmup", 2, 5)):
        if getattr(flags, name) is None:
            setattr(flags, name, on_gpu if flags.device == "gpu" else on_cpu)
    if flags.device == "gpu":
        if flags.check or (flags.peak and len(flags.precisions) > 1):
            parser.error("--check is for --device=cpu, --peak for one of --precisions")
        import train_step_gpu  # It takes from this file what both are made of.

        train_step_gpu.compare(flags)
    elif flags.worker:
        take_turns(lambda: start(flags))
    elif flags.check:
        check()
    else:
        compare(flags)


# === One side ===


def build_ours(backbone: str = "resnet101", width: int = 64, **arguments: Any) -> tuple[Any, Callable]:
    """Our model, and a function (images, labels) → loss that trains it for one step."""
    sys.path.insert(0, str(ROOT))
    import tensorflow as tf

    import acfnet_tf
    from acfnet_tf.config import LossConfig, TrainConfig
    from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, head_losses
    from acfnet_tf.training.optimizer import create_optimizer
    from acfnet_tf.training.step import TrainStep

    model = acfnet_tf.ACFNet(backbone=backbone, backbone_width=width, **arguments)
    config = TrainConfig(learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    optimizer = create_optimizer(config)
    optimizer.build(model.trainable_variables)
    loss = head_losses(LossConfig(), model.output, CITYSCAPES_CLASS_WEIGHTS)
    train_step = TrainStep(tf.distribute.get_strategy(), model, optimizer, loss, replica_batch=1, micro_batch=1)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        return float(train_step({"image": tf.constant(images), "label": tf.constant(labels)})["total"])

    return model, step


def build_torch(**arguments: Any) -> tuple[Any, Callable]:
    """The PyTorch model, and a function (images, labels) → loss that trains it for one step."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import torch
    from torch_acfnet import ACFNet, segmentation_loss

    torch.set_num_threads(CORES)
    model = ACFNet(**arguments).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    class_weights = torch.tensor(cityscapes_class_weights())

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # NHWC memory is what PyTorch calls channels_last
        loss = segmentation_loss(model(batch), torch.from_numpy(labels).long(), class_weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def cityscapes_class_weights() -> list[float]:
    """Read from the source file, because importing the package would load TensorFlow into PyTorch's process."""
    source = (ROOT / "acfnet_tf" / "losses" / "class_weights.py").read_text(encoding="utf-8")
    numbers = re.search(r"CITYSCAPES_CLASS_WEIGHTS[^=]*=\s*\(([^)]*)\)", source).group(1)
    return [float(number) for number in numbers.split(",") if number.strip()]


def random_batch(batch: int, crop: int) -> tuple[np.ndarray, np.ndarray]:
    """Images in 0–255 and labels, a tenth of which is to be ignored."""
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, (batch, crop, crop, 3)).astype(np.float32)
    labels = generator.integers(0, 19, (batch, crop, crop), dtype=np.int32)
    labels[generator.random(labels.shape) < 0.1] = 255
    return images, labels


def trainable_parameters(side: str, model: Any) -> int:
    if side == "acfnet_tf":
        return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return sum(parameter.numel() for parameter in model.parameters())


# === Time and memory ===


def start(flags: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], dict[str, float]]]:
    """One side's process: what it says of itself, and a function that takes a step."""
    model, step = build_ours() if flags.worker == "acfnet_tf" else build_torch()
    images, labels = random_batch(flags.batch, flags.crop)
    module = sys.modules["tensorflow" if flags.worker == "acfnet_tf" else "torch"]
    about = {"parameters": trainable_parameters(flags.worker, model), "version": module.__version__}
    return about, lambda: {"loss": step(images, labels)}


def compare(flags: argparse.Namespace) -> None:
    arguments = (f"--crop={flags.crop}", f"--batch={flags.batch}")
    ours, theirs = workers = [Worker(__file__, f"--worker={side}", *arguments) for side in SIDES]
    versions = f"TensorFlow {ours.about['version']}, PyTorch {theirs.about['version']}"
    print(f"{platform.machine()} {platform.system()}, {CORES} cores, Python {platform.python_version()}, {versions}")
    print(f"ResNet-101 (stride 8) + ASPP + ACF(sum), batch {flags.batch}, {flags.crop}×{flags.crop}, float32")
    for side, worker in zip(SIDES, workers, strict=True):
        print(f"{side:>10}: {worker.about['parameters']:,} trainable parameters")
    assert ours.about["parameters"] == theirs.about["parameters"], "not the same network"

    for _ in range(flags.warmup):
        for worker in workers:
            worker.step()
    print(f"{'round':>10} {SIDES[0]:>10} {SIDES[1]:>10}  ratio  other programs")
    rounds, others = [], []
    for number in range(1, flags.rounds + 1):
        before = other_seconds(workers)
        start = time.perf_counter()
        answers = [worker.step() for worker in workers]
        others.append((other_seconds(workers) - before) / (time.perf_counter() - start) / CORES)
        rounds.append([answer["seconds"] for answer in answers])
        print(f"{_row(str(number), *rounds[-1])}  {others[-1]:>14.0%}", flush=True)
    quiet = [seconds for seconds, other in zip(rounds, others, strict=True) if other < QUIET]
    summarize(f"median of {len(rounds)} rounds", rounds)
    if 0 < len(quiet) < len(rounds):
        summarize(f"median of {len(quiet)} quiet rounds (others below {QUIET:.0%})", quiet)
    peaks = [answer["peak"] / 2**30 for answer in answers]
    print(f"peak memory: {SIDES[0]} {peaks[0]:.2f} GiB, {SIDES[1]} {peaks[1]:.2f} GiB, ratio {peaks[0] / peaks[1]:.3f}")
    for worker in workers:
        worker.close()


def summarize(title: str, rounds: list[list[float]]) -> None:
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print(f"{title}: {SIDES[0]} {ours:.2f} s, {SIDES[1]} {theirs:.2f} s, of the ratios {ratio:.3f}")


def _row(name: str, ours: float, theirs: float) -> str:
    return f"{name:>10} {ours:>8.2f} s {theirs:>8.2f} s {ours / theirs:>6.3f}"


# === Same numbers ===


def check() -> None:
    """Both sides with the same weights, narrow and in float64: the logits and the update of one step must agree.

    Normalisation of the image, classifiers and loss stay float32 in acfnet_tf. PyTorch is given our normalised image:
    of its own, a ReLU whose input is zero but for rounding opens on one side only now and then, and updates of the
    layers below differ by some per cent.
    """
    sys.path.insert(0, str(ROOT))
    import keras
    import torch

    import acfnet_tf  # noqa: F401 (which refuses float64 where it finds it)

    keras.config.set_floatx("float64")
    torch.set_default_dtype(torch.float64)
    keras.utils.set_random_seed(0)
    ours, our_step = build_ours(**NARROW)
    theirs, their_step = build_torch(**NARROW)
    images, labels = random_batch(2, 97)
    normalization = keras.Model(ours.input, ours.get_layer("normalization").output)
    normalized = np.asarray(normalization(images), np.float64)
    mean, std = (buffer.numpy().ravel() for buffer in (theirs.mean, theirs.std))
    assert np.allclose(normalized, (images - mean) / std, atol=1e-5), "not the same normalisation"
    theirs.mean.zero_()
    theirs.std.fill_(1)

    before = torch_state(ours)
    missing, unexpected = theirs.load_state_dict(before, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    assert missing == unexpected == [], f"parameters without a partner: {missing} {unexpected}"
    with torch.no_grad():
        their_logits = theirs.eval()(torch.from_numpy(normalized).permute(0, 3, 1, 2))
    theirs.train()
    for head, logits in ours(images, training=False).items():
        largest = np.abs(logits).max()
        difference = np.abs(logits - their_logits[head].permute(0, 2, 3, 1).numpy()).max() / largest
        print(f"{head:>6} logits differ by {difference:.1e} of the largest, {largest:.3g}")
        assert difference < 1e-4, "not the same network"

    losses = our_step(images, labels), their_step(normalized, labels)
    print(f"loss {losses[0]:.6f} (acfnet_tf) {losses[1]:.6f} (PyTorch)")
    assert abs(losses[0] - losses[1]) < 1e-4 * losses[1], "not the same loss"
    after, expected = torch_state(ours), theirs.state_dict()
    differences = {}
    for name, _ in theirs.named_parameters():
        update, expected_update = after[name] - before[name], expected[name] - before[name]
        if expected_update.norm() > 1e-7:  # in front of a BatchNorm a bias has no gradient
            differences[name] = float((update - expected_update).norm() / expected_update.norm())
    worst = max(differences, key=differences.get)
    median = statistics.median(differences.values())
    print(
        f"updates of {len(differences)} parameters differ by {median:.1e} (median), {differences[worst]:.1e} ({worst})"
    )
    assert differences[worst] < 1e-3, "not the same training step"


def torch_state(ours: Any) -> dict[str, Any]:
    """Our variables as a state dict of the PyTorch model."""
    import torch

    return {name: torch.from_numpy(value) for name, value in arrays_for_torch(ours).items()}


def arrays_for_torch(ours: Any) -> dict[str, np.ndarray]:
    """The same as arrays, made without PyTorch."""
    state = {}
    for variable in ours.weights:
        name = re.sub(r"^(stage\d)_(block\d+)_(\w+)/", r"\1/\2/\3/", variable.path).replace("/", ".")
        for old, new in PARTNERS:
            name = re.sub(old, new, name)
        value = variable.numpy()
        if value.ndim > 1:  # kernels of a convolution, or of the class blocks, which store a 1×1 kernel as a matrix
            value = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(3, 2, 0, 1)
        state[name] = np.array(value, order="C")
    return state


PARTNERS = (
    (r"\.(kernel|gamma)$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"\.moving_mean$", ".running_mean"),
    (r"\.moving_variance$", ".running_var"),
    (r"^aspp\.branch_rate", "aspp.dilated.branch_rate"),
    (r"^acf\.", ""),
    (r"^class_centers\.", "class_centers.reduce."),
    (r"^class_attention\.", "class_attention.refine."),
)


if __name__ == "__main__":
    with console():
        main()
