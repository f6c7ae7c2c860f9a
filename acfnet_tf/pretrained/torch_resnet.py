"""ResNets of PyTorch in our layout: torchvision's, timm's, mmsegmentation's v1c, and CSAIL's, which CCNet takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from acfnet_tf.backbones.resnet import ARCHITECTURES
from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.pretrained import IMAGENET_RGB, Pretrained, first_of

Arrays = Mapping[str, np.ndarray]

_STEMS = {
    "CSAIL": (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    "mmsegmentation v1c": (("stem.0", "stem.1"), ("stem.3", "stem.4"), ("stem.6", "stem.7")),
    "timm deep": (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")),
    "7x7": (("conv1", "bn1"),),
}
"""Convolutions and BatchNorms in front of the first stage. The first naming that fits a file is the file's."""

_CSAIL_PIXELS = {"pixel_mean": (122.67891434, 116.66876762, 104.00698793), "pixel_std": (1.0, 1.0, 1.0)}
_BEHIND_BACKBONE = re.compile(r"(fc|cls|dsn|neck|decoder|last_linear|\w*head|\w*classifier)\..*")


def resnet_from_torch(arrays: Arrays, backbone: str, source: str) -> Pretrained:
    """The weights of a ResNet in our layout, with the variant of the network and the preprocessing they ask for.

    The variant shows in names and shapes. CSAIL's networks take BGR: the input channels of their first kernel are
    flipped, so that ours takes RGB.

    Args:
        arrays: a state dict of a ResNet, with or without classifier or segmentation heads, of any floating dtype.
        backbone: the network that is wanted; any other is refused.
        source: what the state dict is from, for messages and reports.

    Returns:
        Weights for every layer of `acfnet_tf.backbones.resnet` that has any, as float32.

    Raises:
        UserError: another network, or a tensor is missing, unexpected, of a wrong shape or not finite.
    """
    naming = next((naming for naming, names in _STEMS.items() if f"{names[-1][0]}.weight" in arrays), None)
    if naming is None or np.ndim(arrays.get("layer1.0.conv1.weight", 0)) != 4:
        raise UserError(f"{source} holds no ResNet, but tensors such as {first_of(arrays)}")
    _refuse_relatives(arrays, source)
    _refuse_other_depths(arrays, backbone, source)

    width = len(arrays["layer1.0.conv1.weight"])
    stem = _stem(arrays, naming, width)
    layout = _layout(backbone, _STEMS[naming], stem, width)
    unused = _check(arrays, {name: shape for tensors in layout.values() for name, shape in tensors.items()}, source)

    layers = {layer: [_to_keras(arrays[name]) for name in tensors] for layer, tensors in layout.items()}
    if naming == "CSAIL":
        layers["stem_conv1"][0] = layers["stem_conv1"][0][:, :, ::-1]
    settings = {"stride_in": "3x3", "stem": stem, "conv_bias": False, "batch_norm_epsilon": 1e-5}
    pixels = _CSAIL_PIXELS if naming == "CSAIL" else IMAGENET_RGB
    return Pretrained(source, layers, settings | pixels, unused)


def _refuse_relatives(arrays: Arrays, source: str) -> None:
    """Networks with a ResNet's names that ours cannot be."""
    if any(re.fullmatch(r"layer\d\.0\.downsample\.1\.weight", name) and a.ndim == 4 for name, a in arrays.items()):
        raise UserError(f"{source} holds a ResNet-D, whose shortcuts pool: take weights of a plain ResNet or a v1c")
    first, second, third = (np.shape(arrays.get(f"layer1.0.conv{i}.weight", 0)) for i in (1, 2, 3))
    if second[:1] != second[1:2] or (third and third[0] != 4 * first[0]):
        raise UserError(f"{source} holds a ResNeXt or a wide ResNet: take weights of a plain ResNet or a v1c")


def _refuse_other_depths(arrays: Arrays, backbone: str, source: str) -> None:
    found = {match.groups() for match in map(re.compile(r"layer(\d)\.(\d+)\..+").fullmatch, arrays) if match}
    blocks = tuple(sum(stage == str(i) for stage, _ in found) for i in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in arrays
    depth = next((name for name, known in ARCHITECTURES.items() if known == (blocks, bottleneck)), None)
    if depth is None:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        raise UserError(f"{source} holds a ResNet of {blocks} {kind}, which is none of {', '.join(ARCHITECTURES)}")
    if depth != backbone:
        raise UserError(f"{source} holds a {depth}, not a {backbone}: --set model.backbone={depth}")


def _stem(arrays: Arrays, naming: str, width: int) -> str:
    if naming == "7x7":
        return "7x7"
    first = f"{_STEMS[naming][0][0]}.weight"
    return "deep_128" if naming == "CSAIL" or len(arrays.get(first, ())) == width else "deep_64"


def _layout(
    backbone: str, stem_names: Collection[tuple[str, str]], stem: str, width: int
) -> dict[str, dict[str, tuple[int, ...]]]:
    """{our layer: {PyTorch's name: shape there}}, in the order of the weights of our `ConvNormAct`."""
    layout = {}

    def unit(layer: str, conv: str, norm: str, filters: int, channels: int, size: int) -> int:
        statistics = {f"{norm}.{name}": (filters,) for name in ("weight", "bias", "running_mean", "running_var")}
        layout[layer] = {f"{conv}.weight": (filters, channels, size, size)} | statistics
        return filters

    x = 3
    for i, (conv, norm) in enumerate(stem_names, 1):
        filters = {"7x7": width, "deep_64": width // 2, "deep_128": width}[stem]
        x = unit(f"stem_conv{i}", conv, norm, 2 * filters if i == 3 else filters, x, 7 if stem == "7x7" else 3)
    blocks, bottleneck = ARCHITECTURES[backbone]
    for stage, count in enumerate(blocks):
        narrow = width * 2**stage
        convs = ((narrow, 1), (narrow, 3), (4 * narrow, 1)) if bottleneck else ((narrow, 3), (narrow, 3))
        for block in range(count):
            ours, theirs = f"stage{stage + 1}_block{block + 1}", f"layer{stage + 1}.{block}"
            y = x
            for i, (filters, size) in enumerate(convs, 1):
                y = unit(f"{ours}_conv{i}", f"{theirs}.conv{i}", f"{theirs}.bn{i}", filters, y, size)
            if block == 0 and (stage > 0 or x != y):
                unit(f"{ours}_shortcut", f"{theirs}.downsample.0", f"{theirs}.downsample.1", y, x, 1)
            x = y
    return layout


def _check(arrays: Arrays, expected: Mapping[str, tuple[int, ...]], source: str) -> list[str]:
    """Accounts for every tensor. Returns the names of those that lie behind the backbone."""
    beside = [name for name in arrays if name not in expected and not name.endswith(".num_batches_tracked")]
    unused = [name for name in beside if _BEHIND_BACKBONE.fullmatch(name)]
    if strange := [name for name in beside if name not in unused]:
        raise UserError(f"{source} has {len(strange)} tensors that our ResNets have not: {first_of(strange)}")
    if missing := [name for name in expected if name not in arrays]:
        raise UserError(
            f"{source} lacks {len(missing)} of the {len(expected)} tensors of a ResNet: {first_of(missing)}"
        )
    if misshapen := [
        f"{name} of {arrays[name].shape} instead of {shape}"
        for name, shape in expected.items()
        if arrays[name].shape != shape
    ]:
        raise UserError(f"{source} has {len(misshapen)} tensors of unexpected shapes: {first_of(misshapen)}")
    if invalid := [name for name in expected if not _is_finite(arrays[name])]:
        raise UserError(f"{source} has {len(invalid)} tensors whose values are not finite floats: {first_of(invalid)}")
    return unused


def _is_finite(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating) and bool(np.isfinite(array).all())


def _to_keras(array: np.ndarray) -> np.ndarray:
    """float32, and (O, I, H, W) → (H, W, I, O)."""
    array = array.astype(np.float32, copy=False)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
