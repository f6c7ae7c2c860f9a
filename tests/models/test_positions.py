"""Logits lie on the pixels that they are about: at every size and scale, flipped, in windows, for every backbone."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf import ACFNet
from acfnet_tf.backbones import BACKBONES
from acfnet_tf.config import EvaluationConfig
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers import Conv2D, DepthwiseConv2D
from tests.positions import BORDER, coordinates, expected, position_network
from tests.saving import randomize

WIDTHS = dict.fromkeys([f"segformer_b{i}" for i in range(6)], 8)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_every_pixel_has_the_position_that_it_shows(output_stride):
    model = position_network(output_stride)
    logits = tf.function(
        lambda images: model(images, training=False), input_signature=[tf.TensorSpec([None] * 3 + [3])]
    )
    for width in range(1, 98):
        height = 1 + 7 * width % 64  # all from 1 to 64
        found = logits(coordinates(height, width)[None].astype(np.float32))
        for head, stride in {"fine": output_stride, "aux": min(output_stride, 16)}.items():
            difference = np.abs(found[head][0] - expected(height, width, stride))
            assert difference.max() <= BORDER, (head, height, width)


@functools.cache
def predictor(evaluation: EvaluationConfig) -> Predictor:
    return Predictor(position_network(scale=1 / 64), evaluation)


@pytest.mark.parametrize("size", [(64, 97), (96, 96), (61, 90), (57, 65)])
@pytest.mark.parametrize(
    "evaluation",
    [
        EvaluationConfig(flip=True),
        EvaluationConfig(multi_scale=True),
        EvaluationConfig(multi_scale=True, scales=(0.5, 0.8, 1.3)),
        EvaluationConfig("sliding", window=(33, 49)),
        EvaluationConfig("sliding", window=(40, 50), window_overlap=0.25),
        EvaluationConfig("sliding", window=(40, 50), multi_scale=True, flip=True),
    ],
    ids=["flip", "scales", "odd scales", "windows", "windows of 8k", "all"],
)
def test_scales_flips_and_windows_leave_positions_in_place(evaluation, size):
    """Of two classes, the logarithm of the ratio of probabilities is the difference of logits, here (x − y) / 64."""
    found = predictor(evaluation).probabilities(coordinates(*size))["fine"]
    found = 64 * np.log(found[..., 0] / found[..., 1])
    rows, columns = np.meshgrid(*map(np.arange, size), indexing="ij")
    inside = (slice(16, -16), slice(16, -16))  # nothing lies beyond the last feature there, at the scale 1/2
    difference = (found - (columns - rows))[inside]
    # The last 7 columns of a window of 8k go on with its last feature, beside the next window, which has better ones.
    tolerance = (BORDER + 4, 1.25) if evaluation.window == (40, 50) else (BORDER + 0.5, 0.25)
    assert np.abs(difference).max() <= tolerance[0] and abs(difference.mean()) <= tolerance[1]


@pytest.fixture(scope="module", params=BACKBONES)
def narrow(request) -> ACFNet:
    """Of every backbone, random with symmetric kernels, without what mixes the whole image (attention and the like)."""
    backbone = request.param
    one_width = backbone.startswith(("efficientnet_v2", "densenet"))
    fixed = backbone.startswith(("segformer", "densenet"))
    model = ACFNet(
        3,
        backbone,
        context=None,
        class_feature=None,
        channels=8,
        output_stride=32 if fixed else 8,
        backbone_width=64 if one_width else WIDTHS.get(backbone, 8),
    )
    randomize(model)
    for variable in model.variables:
        if "/attn/proj/" in variable.path or "squeeze_excite" in variable.path or "se_expand" in variable.path:
            variable.assign(tf.zeros_like(variable.value))
    for layer in model._flatten_layers():
        if isinstance(layer, (Conv2D, DepthwiseConv2D, keras.layers.DepthwiseConv2D)):
            layer.kernel.assign((layer.kernel + layer.kernel[:, ::-1]) / 2)
    return model


def of_width(model: ACFNet, image: np.ndarray, width: int) -> dict[str, np.ndarray]:
    return {head: values.numpy()[0] for head, values in model(image[None, :, :width], training=False).items()}


def noise(width: int) -> np.ndarray:
    """In squares, so that networks that average single pixels away see something."""
    squares = np.random.default_rng(0).uniform(0, 255, (1, -(-width // 20), 3)).astype(np.float32)
    return squares.repeat(20, axis=0).repeat(20, axis=1)[:, :width]


def test_what_is_cut_off_far_away_moves_nothing(narrow):
    image = noise(1100)
    whole = of_width(narrow, image, 1100)
    for width in (1099, 1092):
        for head, values in of_width(narrow, image, width).items():
            spread = whole[head][:, :300].std(axis=1).max()
            assert np.abs((values - whole[head][:, :width])[:, :300]).max() < 0.01 * spread, (head, width)


def test_the_flipped_image_has_the_flipped_logits(narrow):
    """Exactly so where the features of both stand on the same pixels, and kernels are symmetric."""
    image = noise(int(2 * narrow.get_layer("fine_upsampled").offset + 32 * 5 + 1))
    flipped = of_width(narrow, image[:, ::-1], image.shape[1])
    for head, values in of_width(narrow, image, image.shape[1]).items():
        assert np.abs(flipped[head][:, ::-1] - values).max() < 1e-3 * np.abs(values).max(), head
