"""Dilated residual networks (Section 4.1), in the variants whose pretrained weights exist."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, get_args

import keras

from acfnet_tf.config import OutputStride, Stem, StrideIn
from acfnet_tf.layers.conv import ConvNormAct

Conv = Callable[..., ConvNormAct]
"""`ConvNormAct` in the variant that all of a network have."""


class _Architecture(NamedTuple):
    blocks: tuple[int, int, int, int]
    bottleneck: bool


ARCHITECTURES = {
    "resnet18": _Architecture((2, 2, 2, 2), bottleneck=False),
    "resnet34": _Architecture((3, 4, 6, 3), bottleneck=False),
    "resnet50": _Architecture((3, 4, 6, 3), bottleneck=True),
    "resnet101": _Architecture((3, 4, 23, 3), bottleneck=True),
    "resnet152": _Architecture((3, 8, 36, 3), bottleneck=True),
}


def resnet(
    images: keras.KerasTensor,
    name: str = "resnet101",
    *,
    output_stride: OutputStride = 8,
    width: int = 64,
    stride_in: StrideIn = "3x3",
    stem: Stem = "7x7",
    conv_bias: bool = False,
    batch_norm_epsilon: float = 1e-5,
) -> list[keras.KerasTensor]:
    """The four stages of a ResNet without pooling and classifier, dilated from the wanted output stride on.

    A stage that would go beyond `output_stride` trades its stride for dilation; for output stride 8 the last two
    stages get rates 2 and 4. The trade is exact, so that pretrained weights keep their meaning: a convolution that
    had the stride sees the grid as it was before, those behind it see a grid that is finer than they were trained for.

    Args:
        images: (B, H, W, 3), normalised.
        name: one of `ARCHITECTURES`.
        output_stride: of the last stage.
        width: channels of the first stage; 64 in the originals.
        stride_in: which convolution of a bottleneck block has the stride: "3x3" (torchvision, keras_hub,
            mmsegmentation) or "1x1" (keras.applications).
        stem: "7x7", or three 3×3 convolutions that end in 64 ("deep_64") or 128 channels ("deep_128").
        conv_bias: convolutions have a bias (keras.applications).
        batch_norm_epsilon: 1e-5, or 1.001e-5 (keras.applications).

    Returns:
        The outputs of the four stages, of (B, h, w, channels) each.

    Raises:
        ValueError: an unknown name or variant.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"backbone must be one of {', '.join(ARCHITECTURES)}, not {name!r}")
    if output_stride not in get_args(OutputStride):
        raise ValueError(f"output_stride must be 8, 16 or 32, not {output_stride!r}")
    if stride_in not in get_args(StrideIn):
        raise ValueError(f'stride_in must be "3x3" or "1x1", not {stride_in!r}')
    architecture = ARCHITECTURES[name]
    conv = functools.partial(ConvNormAct, use_bias=conv_bias, epsilon=batch_norm_epsilon)

    x = _stem(conv, images, stem, width)
    stages = []
    stride, rate = 4, 1
    for stage, blocks in enumerate(architecture.blocks):
        first_stride, first_rate = (1 if stage == 0 else 2), rate
        if stride * first_stride > output_stride:
            rate *= first_stride
            first_stride = 1
        stride *= first_stride
        for block in range(blocks):
            strides, rates = (first_stride, (first_rate, rate)) if block == 0 else (1, (rate, rate))
            place = f"stage{stage + 1}_block{block + 1}"
            x = _block(conv, x, width * 2**stage, architecture.bottleneck, stride_in, strides, rates, place)
        stages.append(x)
    return stages


def _stem(conv: Conv, x: keras.KerasTensor, stem: str, width: int) -> keras.KerasTensor:
    """Convolution to stride 2 and max pooling to stride 4, both padded symmetrically."""
    if stem == "7x7":
        x = conv(width, 7, strides=2, name="stem_conv1")(x)
    elif stem in ("deep_64", "deep_128"):
        channels = width // 2 if stem == "deep_64" else width
        x = conv(channels, 3, strides=2, name="stem_conv1")(x)
        x = conv(channels, 3, name="stem_conv2")(x)
        x = conv(2 * channels, 3, name="stem_conv3")(x)
    else:
        raise ValueError(f'stem must be "7x7", "deep_64" or "deep_128", not {stem!r}')
    # Behind a ReLU, padding with zeros is padding with minus infinity.
    x = keras.layers.ZeroPadding2D(1, name="stem_pad")(x)
    return keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)


def _block(
    conv: Conv,
    x: keras.KerasTensor,
    width: int,
    bottleneck: bool,
    stride_in: StrideIn,
    strides: int,
    rates: tuple[int, int],
    name: str,
) -> keras.KerasTensor:
    """1×1 reduce, 3×3, 1×1 expand; or two 3×3, the first of which has the block's stride.

    Args:
        rates: of a 3×3 that has the block's stride, and of one that has not.
    """
    strided, dense = {"strides": strides, "dilation_rate": rates[0]}, {"dilation_rate": rates[1]}
    if bottleneck:
        in_3x3 = stride_in == "3x3"
        y = conv(width, 1, strides=1 if in_3x3 else strides, name=f"{name}_conv1")(x)
        y = conv(width, 3, **(strided if in_3x3 else dense), name=f"{name}_conv2")(y)
        y = conv(4 * width, 1, activation=None, name=f"{name}_conv3")(y)
    else:
        y = conv(width, 3, **strided, name=f"{name}_conv1")(x)
        y = conv(width, 3, **dense, activation=None, name=f"{name}_conv2")(y)
    if strides != 1 or x.shape[-1] != y.shape[-1]:
        x = conv(y.shape[-1], 1, strides=strides, activation=None, name=f"{name}_shortcut")(x)
    return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_add")([x, y]))
