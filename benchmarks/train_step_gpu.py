"""The sides of `train_step.py --device=gpu`, which says what is measured, and their table."""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu
import numpy as np
from sides import ROOT
from train_step import GPU_SIDES as TITLES
from train_step import LEARNING_RATE, MOMENTUM, NARROW, WEIGHT_DECAY, cityscapes_class_weights, random_batch

SETTINGS = {
    "acfnet_tf": {},
    "acfnet_tf_xla": {"xla": True},
    "acfnet_tf_no_xla": {"xla": False},
    "acfnet_tf_deterministic": {"deterministic": True},
}
"""Of our sides, in `TrainConfig`."""
AGAINST = ("torch", "torch_compile")
FORWARD_AND_BACKWARD = 3
"""Multiply-adds of a step for each of the forward pass: the backward pass takes the products for the gradients of the
weights and those of the activations (the image needs none, which is little)."""


# === One side ===


def ours(flags: argparse.Namespace) -> gpu.Answer:
    """Steps of our training, made as `acfnet_tf.training.loop` makes them, and read as it reads them."""
    sys.path.insert(0, str(ROOT))
    import keras
    import tensorflow as tf

    from acfnet_tf.cluster import join_workers
    from acfnet_tf.config import TrainConfig
    from acfnet_tf.layers.precision import running
    from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, head_losses
    from acfnet_tf.models.create import create_model
    from acfnet_tf.training.loss_scale import LossScale
    from acfnet_tf.training.optimizer import create_optimizer
    from acfnet_tf.training.step import TrainStep

    device = gpu.our_device(flags)
    config = TrainConfig(
        learning_rate=LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        precision=flags.precision,
        **SETTINGS[flags.side],
    )
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = join_workers("one_device").strategy
    with strategy.scope():
        model = create_model(our_network(flags), flags.precision)
        optimizer = create_optimizer(config, model.head_variables)
        optimizer.build(model.trainable_variables)
        loss_scale = LossScale() if flags.precision == "mixed_float16" else None
    loss = head_losses(config.loss, model.output, CITYSCAPES_CLASS_WEIGHTS)
    train_step = TrainStep(strategy, model, optimizer, loss, flags.batch, flags.batch, loss_scale, config.xla)
    images, labels = random_batch(flags.batch, flags.crop)
    with tf.device(device):
        # The labels of training's input are of this type. (TensorFlow keeps int32 in the host's memory.)
        batch = {"image": tf.identity(images), "label": tf.identity(labels.astype(np.uint8))}
    left_out: list[bool] = []
    not_compiled = flags.side == "acfnet_tf" and not train_step.compile_norms

    def step() -> None:
        numbers = {name: float(value) for name, value in train_step(batch).items()}
        left_out.append(not numbers["finite"])

    with running(flags.precision):
        answer = gpu.timed(step, flags, left_out.clear) | gpu.our_facts(device)
        answer["note"] = note(sum(left_out), not_compiled)
        if flags.profile:
            answer["profile"] = profile(step, Path(flags.profile) / f"{flags.side}_{flags.precision}")
    return answer


def our_network(flags: argparse.Namespace) -> Any:
    """The settings of the network, as `ModelConfig` has them."""
    from acfnet_tf.config import ModelConfig

    network = NARROW if flags.narrow else {}
    return ModelConfig(**{"backbone_width" if name == "width" else name: value for name, value in network.items()})


def profile(step: Callable[[], None], folder: Path) -> list[str]:
    """Writes a profile of one step, and lists what took its time."""
    import tensorflow as tf
    import xplane

    with tf.profiler.experimental.Profile(str(folder)):
        step()
    lines = [f"One step under the profiler, in {folder}", "", *xplane.largest(folder)]
    (folder / "operations.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def count(flags: argparse.Namespace) -> gpu.Answer:
    """Multiply-adds of a step on the whole batch, counted in our graph, which takes less than the paper's formulas."""
    sys.path.insert(0, str(ROOT))
    import tensorflow as tf

    from acfnet_tf.measure.complexity import complexity
    from acfnet_tf.models.create import create_model

    tf.config.set_visible_devices([], "GPU")  # It traces only.
    parts = complexity(create_model(our_network(flags)), (flags.crop, flags.crop))
    return {"multiply_adds": FORWARD_AND_BACKWARD * flags.batch * sum(part.multiply_adds for part in parts)}


def pytorch(flags: argparse.Namespace, compiled: bool) -> gpu.Answer:
    """The same in PyTorch, as its users write it."""
    import torch
    from torch_acfnet import ACFNet, segmentation_loss

    device, autocast = gpu.torch_setting(flags)
    network = NARROW if flags.narrow else {}
    model = ACFNet(**network).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    scaler = torch.amp.GradScaler(device, enabled=flags.precision == "mixed_float16")
    class_weights = torch.tensor(cityscapes_class_weights(), device=device)
    images, labels = random_batch(flags.batch, flags.crop)
    images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)  # NHWC is what PyTorch calls channels_last
    labels = torch.from_numpy(labels).to(device).long()

    def forward(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return segmentation_loss(model(images), labels, class_weights)

    forward = torch.compile(forward) if compiled else forward

    def step() -> None:
        with autocast():
            loss = forward(images, labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()

    scales: list[float] = []
    answer = gpu.timed(step, flags, lambda: scales.append(scaler.get_scale()))
    left_out = round(math.log2(scales[0] / scaler.get_scale()))  # Each of them halves the scale.
    return answer | {"note": note(left_out)} | gpu.torch_facts(device)


def note(left_out: int, not_compiled: bool = False) -> str:
    notes = [f"steps without update, as not finite: {left_out}"] if left_out else []
    return "; ".join(notes + (["XLA compiles nothing here"] if not_compiled else []))


# === All sides ===


def compare(flags: argparse.Namespace) -> None:
    network = "a narrow network" if flags.narrow else "ResNet-101 (stride 8) + ASPP + ACF(sum)"
    counted = gpu.alone(__file__, "count", flags)
    flop = 2 * counted["multiply_adds"] if "error" not in counted else None
    size = f"{flop / 1e12:.3g} TFLOP a step" if flop else f"multiply-adds not counted: {counted['error']}"
    print(f"{network}, batch {flags.batch}, {flags.crop}×{flags.crop}, {size}\n", flush=True)

    def achieved(answer: gpu.Answer) -> float:
        return flop / statistics.median(answer["seconds"]) / 1e12

    def share(precision: str, answer: gpu.Answer) -> str:
        peak = flags.peak or gpu.peak_of(answer["card"], precision)
        return f"{achieved(answer) / peak:.0%} of {peak:g}" if flop and peak else "–"

    more = {
        "TFLOP/s": lambda precision, answer: f"{achieved(answer):.3g}" if flop else "–",
        "of the card's peak": share,
    }
    pairs = [(precision, side) for precision in flags.precisions for side in flags.sides]
    run = lambda precision, side: gpu.alone(__file__, side, flags, precision=precision)  # noqa: E731
    answers = gpu.compare(flags, TITLES, pairs, run, more)
    print(f"\n{gpu.card_and_versions(answers.values())}")
    print(f"{network}, batch {flags.batch}, {flags.crop}×{flags.crop}; medians of {flags.rounds} steps\n")
    print(gpu.side_by_side("training step", TITLES, answers, AGAINST))
    for answer in answers.values():
        if answer.get("profile"):
            print("\n" + "\n".join(answer["profile"]))


if __name__ == "__main__":
    gpu.answer(
        dict.fromkeys(SETTINGS, ours)
        | {
            "torch": functools.partial(pytorch, compiled=False),
            "torch_compile": functools.partial(pytorch, compiled=True),
            "count": count,
        }
    )
