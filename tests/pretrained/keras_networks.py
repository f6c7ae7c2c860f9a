"""A ResNet as keras_hub builds and names it, as narrow as one likes."""

from __future__ import annotations

import keras

from acfnet_tf.backbones.resnet import ARCHITECTURES
from tests.saving import randomize


def hub_resnet(name: str, width: int = 4) -> keras.Model:
    """(B, H, W, 3) → (B, h, w, C) at stride 32, with random weights that matter."""
    blocks, bottleneck = ARCHITECTURES[name]
    images = keras.Input((None, None, 3))
    x = _unit(images, width, 7, 2, "conv1")
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stack, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stack and not block else 1
            x = _block(x, width * 2**stack, strides, bottleneck, f"stack{stack}_block{block}", not block)
    model = keras.Model(images, x)
    randomize(model)
    return model


def _unit(x: keras.KerasTensor, filters: int, size: int, strides: int, name: str, relu: bool = True):
    if strides > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    padding = "valid" if strides > 1 else "same"
    x = keras.layers.Conv2D(filters, size, strides, padding, use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x) if relu else x


def _block(x: keras.KerasTensor, filters: int, strides: int, bottleneck: bool, name: str, first: bool):
    y, last = x, filters
    if bottleneck:
        y, last = _unit(y, filters, 1, 1, f"{name}_1"), 4 * filters
    y = _unit(y, filters, 3, strides, f"{name}_{2 if bottleneck else 1}")
    y = _unit(y, last, 1 if bottleneck else 3, 1, f"{name}_{3 if bottleneck else 2}", relu=False)
    if first and (bottleneck or strides > 1):
        x = _unit(x, last, 1, strides, f"{name}_0", relu=False)
    return keras.layers.Activation("relu", name=f"{name}_out")(keras.layers.Add(name=f"{name}_add")([x, y]))
