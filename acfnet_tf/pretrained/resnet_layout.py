"""How our ResNets are made of units, each a convolution and its BatchNorm: what files of weights are held against."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

from acfnet_tf.backbones.resnet import ARCHITECTURES
from acfnet_tf.errors import UserError


def resnet_units(backbone: str, stem: str = "7x7", width: int = 64) -> dict[str, tuple[int, int, int]]:
    """{our layer: (filters, channels, size) of its kernel} of all layers with weights, in the network's order."""
    units = {"stem_conv1": (width, 3, 7)}
    channels = width
    if stem != "7x7":
        narrow = width // 2 if stem == "deep_64" else width
        channels = 2 * narrow
        units = {
            "stem_conv1": (narrow, 3, 3),
            "stem_conv2": (narrow, narrow, 3),
            "stem_conv3": (channels, narrow, 3),
        }
    blocks, bottleneck = ARCHITECTURES[backbone]
    for stage, count in enumerate(blocks):
        narrow = width * 2**stage
        kernels = ((narrow, 1), (narrow, 3), (4 * narrow, 1)) if bottleneck else ((narrow, 3), (narrow, 3))
        for block in range(count):
            name, inner = f"stage{stage + 1}_block{block + 1}", channels
            for index, (filters, size) in enumerate(kernels, 1):
                units[f"{name}_conv{index}"] = filters, inner, size
                inner = filters
            if block == 0 and (stage > 0 or channels != inner):
                units[f"{name}_shortcut"] = inner, channels, 1
            channels = inner
    return units


def refuse_other_depths(units: Collection[str], backbone: str, source: str) -> None:
    """Raises UserError where units under our names are not those of this backbone, and names the one they are of."""
    blocks = {tuple(map(int, re.findall(r"\d+", unit)[:2])) for unit in units if unit.startswith("stage")}
    counts = tuple(Counter(stage for stage, _ in sorted(blocks)).values())
    bottleneck = any(unit.startswith("stage") and unit.endswith("_conv3") for unit in units)
    depth = next((name for name, known in ARCHITECTURES.items() if known == (counts, bottleneck)), None)
    if depth is None:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        raise UserError(f"{source} holds a ResNet of {counts} {kind}, which is none of {', '.join(ARCHITECTURES)}")
    if depth != backbone:
        raise UserError(f"{source} holds a {depth}, not a {backbone}: --set model.backbone={depth}")
