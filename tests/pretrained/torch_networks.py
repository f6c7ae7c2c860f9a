"""ResNets as PyTorch has them, of random values, and what PyTorch would compute with them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}

STEMS = {  # (convolution, BatchNorm, share of the width, kernel size), and preprocessing: mean, std, BGR
    "torchvision": [("conv1", "bn1", 1, 7)],
    "csail": [("conv1", "bn1", 1, 3), ("conv2", "bn2", 1, 3), ("conv3", "bn3", 2, 3)],
    "v1c": [("stem.0", "stem.1", 0.5, 3), ("stem.3", "stem.4", 0.5, 3), ("stem.6", "stem.7", 1, 3)],
    "timm_deep": [("conv1.0", "conv1.1", 0.5, 3), ("conv1.3", "conv1.4", 0.5, 3), ("conv1.6", "bn1", 1, 3)],
}


def state_dict(naming: str, backbone: str, width: int = 8) -> dict[str, np.ndarray]:
    """Under the published names, with classifier and BatchNorm's counters; values of every kind are random."""
    generator = np.random.default_rng(0)
    state = {}

    def conv_norm(conv: str, norm: str, out: int, channels: int, size: int) -> int:
        scale = np.sqrt(1.5 / (channels * size**2))
        state[f"{conv}.weight"] = generator.normal(0, scale, (out, channels, size, size)).astype(np.float32)
        for name, low, high in (("weight", 0.5, 1.5), ("bias", -0.5, 0.5), ("running_mean", -0.5, 0.5)):
            state[f"{norm}.{name}"] = generator.uniform(low, high, out).astype(np.float32)
        state[f"{norm}.running_var"] = generator.uniform(0.5, 1.5, out).astype(np.float32)
        state[f"{norm}.num_batches_tracked"] = np.array(7)
        return out

    x = 3
    for conv, norm, share, size in STEMS[naming]:
        x = conv_norm(conv, norm, int(share * width), x, size)
    for stage, blocks in enumerate(BLOCKS[backbone]):
        narrow = width * 2**stage
        convs = [(narrow, 1), (narrow, 3), (4 * narrow, 1)] if backbone == "resnet50" else [(narrow, 3)] * 2
        for block in range(blocks):
            name, y = f"layer{stage + 1}.{block}", x
            for i, (out, size) in enumerate(convs, 1):
                y = conv_norm(f"{name}.conv{i}", f"{name}.bn{i}", out, y, size)
            if block == 0 and (stage > 0 or x != y):
                conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", y, x, 1)
            x = y
    state["fc.weight"], state["fc.bias"] = np.zeros((10, x), np.float32), np.zeros(10, np.float32)
    return state


def last_stage(state: Mapping[str, np.ndarray], naming: str, images: np.ndarray) -> np.ndarray:
    """What PyTorch's network, with its preprocessing, computes of (B, H, W, 3) uint8 RGB: (B, H/32, W/32, C)."""

    def conv_norm(x: tf.Tensor, conv: str, norm: str, stride: int = 1) -> tf.Tensor:
        kernel = state[f"{conv}.weight"].transpose(2, 3, 1, 0)
        pad = [(len(kernel) - 1) // 2] * 2
        x = tf.nn.conv2d(x, kernel, stride, [[0, 0], pad, pad, [0, 0]])
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-5)
        return (x - state[f"{norm}.running_mean"]) * scale + state[f"{norm}.bias"]

    if naming == "csail":
        x = images[..., ::-1].astype(np.float32) - np.float32([104.00698793, 116.66876762, 122.67891434])
    else:
        x = (images / np.float32(255) - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    for i, (conv, norm, *_) in enumerate(STEMS[naming]):
        x = tf.nn.relu(conv_norm(x, conv, norm, stride=2 if i == 0 else 1))
    x = tf.nn.max_pool2d(x, 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
    for name in [name.removesuffix(".conv1.weight") for name in state if re.fullmatch(r"layer.+\.conv1\.weight", name)]:
        stride = 2 if name.endswith(".0") and name != "layer1.0" else 1
        bottleneck, shortcut = f"{name}.conv3.weight" in state, f"{name}.downsample.0"
        y = tf.nn.relu(conv_norm(x, f"{name}.conv1", f"{name}.bn1", 1 if bottleneck else stride))
        y = conv_norm(y, f"{name}.conv2", f"{name}.bn2", stride if bottleneck else 1)
        if bottleneck:
            y = conv_norm(tf.nn.relu(y), f"{name}.conv3", f"{name}.bn3")
        if f"{shortcut}.weight" in state:
            x = conv_norm(x, shortcut, f"{name}.downsample.1", stride)
        x = tf.nn.relu(x + y)
    return x.numpy()
