"""Mix Transformer, part by part: the original's numbers, also where its reduction does not divide the map."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acfnet_tf.backbones.mix_transformer import (
    Encoder,
    PatchEmbedding,
    ReducedAttention,
    mix_transformer,
)
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.export.formats import FORMATS, open_file
from acfnet_tf.inference.predictor import Predictor
from tests import oracle
from tests.oracle import assert_close
from tests.saving import randomize


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def built(layer: keras.layers.Layer, inputs: np.ndarray) -> keras.layers.Layer:
    layer.build(inputs.shape)
    randomize(layer)
    return layer


def dense(inputs: np.ndarray, layer: keras.layers.Dense) -> np.ndarray:
    return oracle.conv1x1(inputs, layer.kernel.numpy(), layer.bias.numpy())


def layer_norm(inputs: np.ndarray, norm: keras.layers.LayerNormalization) -> np.ndarray:
    deviation = np.sqrt(inputs.var(axis=-1, keepdims=True) + norm.epsilon)
    return (inputs - inputs.mean(axis=-1, keepdims=True)) / deviation * norm.gamma.numpy() + norm.beta.numpy()


def expected_attention(layer: ReducedAttention, inputs: np.ndarray) -> np.ndarray:
    """Head by head in float64, for one image whose size the reduction divides."""
    height, width, channels = inputs.shape[1:]
    step = layer.reduction
    patches = inputs
    if step > 1:
        rows = inputs.reshape(1, height // step, step, width // step, step, channels)
        kernel = layer.sr.kernel.numpy().astype(np.float64)
        patches = np.einsum("byixjc,ijcd->byxd", rows, kernel) + layer.sr.bias.numpy()
        patches = layer_norm(patches, layer.norm)
    q, k, v = (
        dense(x, part).reshape(-1, channels) for x, part in ((inputs, layer.q), (patches, layer.k), (patches, layer.v))
    )
    depth = channels // layer.heads
    attended = np.empty_like(q)
    for head in range(layer.heads):
        part = slice(head * depth, (head + 1) * depth)
        attended[:, part] = oracle.softmax(q[:, part] @ k[:, part].T / np.sqrt(depth)) @ v[:, part]
    return dense(attended.reshape(inputs.shape), layer.proj)


@pytest.mark.parametrize(("reduction", "size"), [(1, (3, 5)), (2, (6, 4)), (4, (8, 12))])
def test_attention_equals_its_definition(reduction, size):
    inputs = image(1, *size, 6)
    layer = built(ReducedAttention(6, heads=2, reduction=reduction), inputs)
    assert_close(layer(inputs), expected_attention(layer, inputs))


def test_a_map_that_the_reduction_does_not_divide_has_patches_that_reach_beyond_it():
    inputs = image(1, 5, 7, 6)
    layer = built(ReducedAttention(6, heads=2, reduction=4), inputs)
    padded = np.pad(inputs, ((0, 0), (0, 3), (0, 1), (0, 0)))
    assert_close(layer(inputs), expected_attention(layer, padded)[:, :5, :7])


def test_encoder_equals_that_of_keras_cv():
    """Without reduction: keras_cv's reduction confuses positions with channels."""
    from keras_cv.layers import HierarchicalTransformerEncoder

    inputs = image(2, 4, 4, 10)
    layer = built(Encoder(10, heads=5, reduction=1), inputs)
    theirs = HierarchicalTransformerEncoder(10, 5, sr_ratio=1)
    theirs(inputs.reshape(2, 16, 10))
    theirs.set_weights(layer.get_weights())
    assert_close(layer(inputs), np.asarray(theirs(inputs.reshape(2, 16, 10))).reshape(inputs.shape))


@pytest.mark.parametrize(("patch", "stride", "size"), [(7, 4, (9, 13)), (3, 2, (8, 5))])
def test_patches_lie_symmetrically_around_every_stride_th_pixel(patch, stride, size):
    inputs = image(2, *size, 3)
    layer = built(PatchEmbedding(6, patch, stride), inputs)
    convolved = oracle.conv2d(inputs, layer.proj.kernel.numpy(), strides=stride) + layer.proj.bias.numpy()
    assert_close(layer(inputs), layer_norm(convolved, layer.norm))


@pytest.mark.parametrize("format", sorted(FORMATS.keys() - {"keras"}))
def test_converted_files_say_the_same_at_any_size(format, tmp_path):
    images = keras.Input((None, None, 3))
    encoded = Encoder(8, heads=2, reduction=4)(PatchEmbedding(8, 3, 2)(images))
    model = keras.Model(images, {"fine": keras.layers.Conv2D(2, 1)(encoded)})
    randomize(model)
    file = tmp_path / FORMATS[format].file.format(name="a")
    FORMATS[format].write(Predictor(model), file, ClassSet(("road", "sky"), ((0, 0, 0), (9, 9, 9)), {0: 0, 1: 1}))
    run = open_file(format, file)
    for height, width in [(37, 53), (1, 2)]:
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        assert_close(run(photo)["logits"][None], model(photo[None].astype(np.float32))["fine"].numpy())


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Of keras_cv's and keras_hub's presets, whose tables count a classifier of ten classes as well.
    [("b0", 3_321_962 - 257 * 10), ("b2", 24_201_418 - 513 * 10), ("b5", 81_448_138 - 513 * 10)],
)
def test_parameters_are_those_of_the_original(name, parameters):
    with keras.StatelessScope():
        images = keras.Input((None, None, 3))
        model = keras.Model(images, mix_transformer(images, name))
        count = model.count_params()
    assert count == parameters


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"width 3 gives stage 1 .* 1\.5 channels"):
        mix_transformer(keras.Input((None, None, 3)), "b0", width=3)
