"""ResNets of PyTorch in our layout: torchvision's, timm's, mmsegmentation's v1c, and CSAIL's, which CCNet takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from acfnet_tf.errors import UserError
from acfnet_tf.pretrained.preprocessing import IMAGENET_RGB
from acfnet_tf.pretrained.pretrained import Pretrained
from acfnet_tf.pretrained.report import first_of
from acfnet_tf.pretrained.resnet_layout import refuse_other_depths, resnet_units

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

    Returns:
        Weights for every layer of `acfnet_tf.backbones.resnet` that has any, as float32.

    Raises:
        UserError: another network, or a tensor is missing, unexpected, of a wrong shape or not finite.
    """
    naming = next((naming for naming, names in _STEMS.items() if f"{names[-1][0]}.weight" in arrays), None)
    if naming is None or np.ndim(arrays.get("layer1.0.conv1.weight", 0)) != 4:
        raise UserError(f"{source} holds no ResNet, but tensors such as {first_of(arrays)}")
    _refuse_relatives(arrays, source)
    refuse_other_depths([_our_unit(name) for name in arrays], backbone, source)

    width = len(arrays["layer1.0.conv1.weight"])
    stem = _stem(arrays, naming, width)
    layout = {
        unit: _tensors(*_names(unit, _STEMS[naming]), *kernel)
        for unit, kernel in resnet_units(backbone, stem, width).items()
    }
    unused = _check(arrays, {name: shape for tensors in layout.values() for name, shape in tensors.items()}, source)

    layers = {unit: [_to_keras(arrays[name]) for name in tensors] for unit, tensors in layout.items()}
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


def _stem(arrays: Arrays, naming: str, width: int) -> str:
    if naming == "7x7":
        return "7x7"
    first = f"{_STEMS[naming][0][0]}.weight"
    return "deep_128" if naming == "CSAIL" or len(arrays.get(first, ())) == width else "deep_64"


def _our_unit(name: str) -> str:
    """The unit that has this tensor, as far as the depth of the network shows in it; "" outside of the stages."""
    place = re.match(r"layer(\d)\.(\d+)\.(conv\d)?", name)
    return f"stage{place[1]}_block{int(place[2]) + 1}_{place[3]}" if place else ""


def _names(unit: str, stem_names: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The convolution and the BatchNorm of this unit in PyTorch."""
    place = re.fullmatch(r"stage(\d)_block(\d+)_(conv(\d)|shortcut)", unit)
    if not place:
        return stem_names[int(unit[-1]) - 1]
    block = f"layer{place[1]}.{int(place[2]) - 1}"
    if place[3] == "shortcut":
        return f"{block}.downsample.0", f"{block}.downsample.1"
    return f"{block}.conv{place[4]}", f"{block}.bn{place[4]}"


def _tensors(conv: str, norm: str, filters: int, channels: int, size: int) -> dict[str, tuple[int, ...]]:
    """{tensor: its shape} in the order of the weights of our `ConvNormAct`."""
    statistics = {f"{norm}.{name}": (filters,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {f"{conv}.weight": (filters, channels, size, size)} | statistics


def _check(arrays: Arrays, expected: Mapping[str, tuple[int, ...]], source: str) -> list[str]:
    """Accounts for every tensor. Returns the names of those that lie behind the backbone."""
    beside = [name for name in arrays if name not in expected and not name.endswith(".num_batches_tracked")]
    unused = [name for name in beside if _BEHIND_BACKBONE.fullmatch(name)]
    present = {name: arrays[name] for name in expected if name in arrays}
    faults = {
        "has {} tensors that our ResNets have not": [name for name in beside if name not in unused],
        f"lacks {{}} of the {len(expected)} tensors of a ResNet": [name for name in expected if name not in arrays],
        "has {} tensors of unexpected shapes": [
            f"{name} of {array.shape} instead of {expected[name]}"
            for name, array in present.items()
            if array.shape != expected[name]
        ],
        "has {} tensors whose values are not finite floats": [
            name
            for name, array in present.items()
            if not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all())
        ],
    }
    for fault, names in faults.items():
        if names:
            raise UserError(f"{source} {fault.format(len(names))}: {first_of(names)}")
    return unused


def _to_keras(array: np.ndarray) -> np.ndarray:
    """float32, and (O, I, H, W) → (H, W, I, O)."""
    array = array.astype(np.float32, copy=False)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
