"""A network whose logits are the coordinates of what a pixel shows: where it puts them can be read off.

Its image is `coordinates`: red is the column, green the row. It hands both on through all layers without a change, so
that every logit says which place of the image it is about.
"""

from __future__ import annotations

import numpy as np

from acfnet_tf import ACFNet
from acfnet_tf.layers import ConvNormAct

LARGEST = 250.0
BORDER = 1.01
"""Pixels: the window of the stem's pooling has its middle elsewhere where it is cut off by the border."""


def coordinates(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8, up to 250 pixels along each side."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def expected(height: int, width: int, stride: int) -> np.ndarray:
    """(H, W, 2): the coordinates (x, y) of every pixel, those of the last feature beyond it."""
    rows, columns = (np.minimum(np.arange(n), (n - 1) // stride * stride) for n in (height, width))
    return np.stack(np.broadcast_arrays(columns[None], rows[:, None]), axis=-1)


def position_network(output_stride: int = 8, scale: float = 1.0) -> ACFNet:
    """A ResNet-18 whose "fine" and "aux" logits are `scale` · (x, y).

    Its four channels are x, y and what they lack of `LARGEST`: of these pairs the pooling takes maximum and minimum.
    """
    model = ACFNet(
        2,
        "resnet18",
        context=None,
        class_feature=None,
        channels=8,
        output_stride=output_stride,
        backbone_width=4,
        pixel_mean=(0, 0, 0),
        pixel_std=(1, 1, 1),
    )
    for layer in model.layers:
        if isinstance(layer, ConvNormAct):
            kernel = np.zeros(layer.conv.kernel.shape, np.float32)
            middle = kernel[len(kernel) // 2, len(kernel) // 2]
            if layer.name.endswith("shortcut") or layer.name == "aux_conv":
                np.fill_diagonal(middle[:4, :4], 1)
            layer.conv.kernel.assign(kernel)
            layer.norm.moving_variance.assign(np.full(kernel.shape[-1], 1 - layer.norm.epsilon))
    stem = model.get_layer("stem_conv1")
    kernel = np.zeros(stem.conv.kernel.shape, np.float32)
    kernel[3, 3, :2] = [[1, 0, -1, 0], [0, 1, 0, -1]]
    stem.conv.kernel.assign(kernel)
    stem.norm.beta.assign([0, 0, LARGEST, LARGEST])
    for head in ("fine", "aux"):
        classifier = model.get_layer(f"{head}_logits")
        kernel = np.zeros(classifier.kernel.shape, np.float32)
        kernel[0, 0, :4] = scale / 2 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
        classifier.set_weights([kernel, np.full(2, scale * LARGEST / 2)])
    return model
