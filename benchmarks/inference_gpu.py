"""The sides of `inference.py --device=gpu`, which says what is measured, and their table."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import gpu
import numpy as np
from inference_sides import IMAGE, LABELS, MODEL, NETWORK, WEIGHTS
from sides import ROOT

TITLES = {"predictor": "`Predictor`", "torch": "PyTorch, eager", "torch_compile": "PyTorch, `torch.compile`"}
AGAINST = ("torch", "torch_compile")
TRUTH = ("float32", "predictor")
"""Precision and side whose labels the others are compared with."""


# === One side ===


def ours(flags: argparse.Namespace) -> gpu.Answer:
    """`Predictor` on the saved model."""
    sys.path.insert(0, str(ROOT))
    import acfnet_tf
    from acfnet_tf.config import EvaluationConfig

    device = gpu.our_device(flags)
    predictor = acfnet_tf.Predictor(Path(flags.folder) / MODEL, EvaluationConfig(precision=flags.precision))
    return _measured(predictor, flags) | gpu.our_facts(device)


def pytorch(flags: argparse.Namespace, compiled: bool) -> gpu.Answer:
    """The same network in PyTorch, as its users write it."""
    import torch
    from torch_acfnet import ACFNet

    device, autocast = gpu.torch_setting(flags)
    model = ACFNet(**json.loads((Path(flags.folder) / NETWORK).read_text(encoding="utf-8")))
    with np.load(Path(flags.folder) / WEIGHTS) as weights:
        model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights}, strict=False)
    model = model.to(device, memory_format=torch.channels_last).eval()
    network = torch.compile(model) if compiled else model

    def label(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), autocast():
            batch = torch.from_numpy(image[None]).to(device).permute(0, 3, 1, 2)
            logits = network(batch.float(), heads=("fine",))["fine"]
            return logits[0].argmax(0).to(torch.uint8).cpu().numpy()

    return _measured(label, flags) | gpu.torch_facts(device)


def _measured(label: Callable[[np.ndarray], np.ndarray], flags: argparse.Namespace) -> gpu.Answer:
    """Times of labelling the image; the labels of the last time are kept in a file."""
    image = np.load(Path(flags.folder) / IMAGE)
    labels = image

    def step() -> None:
        nonlocal labels
        labels = label(image)

    answer = gpu.timed(step, flags)
    np.save(_labels(flags.folder, flags.precision, flags.side), labels)
    return answer


def _labels(folder: str | Path, precision: str, side: str) -> Path:
    return Path(folder) / LABELS.format(side=f"{side}_{precision}")


# === All sides ===


def compare(flags: argparse.Namespace, folder: Path) -> None:
    """Measures on what was prepared in the folder."""
    network = "a narrow network" if flags.narrow else "ResNet-101 (stride 8) + ASPP + ACF(sum)"
    what = f"{network}, one image of {'×'.join(map(str, flags.size))}"
    print(f"{what}\n", flush=True)

    def run(precision: str, side: str) -> gpu.Answer:
        answer = gpu.alone(__file__, side, flags, precision=precision, folder=str(folder))
        if "error" not in answer and _labels(folder, *TRUTH).exists():
            truth, labels = (np.load(_labels(folder, *each)) for each in (TRUTH, (precision, side)))
            answer["equal"] = float(np.mean(truth == labels))
        return answer

    def equal(_: str, answer: gpu.Answer) -> str:
        return f"{answer['equal']:.2%}" if "equal" in answer else "–"

    pairs = dict.fromkeys([TRUTH, *((precision, side) for precision in flags.precisions for side in flags.sides)])
    answers = gpu.compare(flags, TITLES, pairs, run, {"labels as ours in float32": equal})
    print(f"\n{gpu.card_and_versions(answers.values())}")
    print(f"{what}; medians of {flags.rounds} images\n")
    print(gpu.side_by_side("image", TITLES, answers, AGAINST))


if __name__ == "__main__":
    gpu.answer(
        {
            "predictor": ours,
            "torch": functools.partial(pytorch, compiled=False),
            "torch_compile": functools.partial(pytorch, compiled=True),
        }
    )
