"""Networks of Keras libraries made fit: the same numbers, dilated exactly, any size, synchronised, nothing random."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.backbones.dilated import make_dilated
from acfnet_tf.backbones.keras_networks import keras_network
from acfnet_tf.layers import SyncBatchNorm
from tests.oracle import assert_close
from tests.saving import randomize

layers = keras.layers
NARROW = {"mobilenet": 8, "mobilenet_v2": 8, "mobilenet_v3_small": 16, "efficientnet_lite0": 8}
IMAGES = np.random.default_rng(0).normal(size=(2, 65, 65, 3)).astype(np.float32)


@functools.cache
def theirs(name: str) -> keras.Model:
    model = keras_network(name, NARROW.get(name, 64))
    randomize(model)
    return model


def ours(model: keras.Model, output_stride: int = 32) -> keras.Model:
    """The dilated network with the weights of `model`: features and auxiliary features."""
    images = keras.Input((None, None, 3))
    backbone = make_dilated(model, images, output_stride)
    dilated = keras.Model(images, [backbone.last, backbone.next_to_last])
    assert backbone.weight_layers == {layer.name for layer in model.layers if layer.weights}
    for name in backbone.weight_layers:
        dilated.get_layer(name).set_weights(model.get_layer(name).get_weights())
    return dilated


def toy(*stack: layers.Layer) -> keras.Model:
    """A network of stride 2 that begins with these layers."""
    images = keras.Input((None, None, 3))
    x = images
    for layer in stack:
        x = layer(x)
    return keras.Model(images, layers.Conv2D(4, 3, strides=2, padding="same")(x), name="toy")


def of_static_size(model: keras.Model) -> keras.Model:
    """The same network made for 65×65: where they know the size, and it is odd, the libraries pad symmetrically."""
    if model.name == "efficientnet_lite0":
        static = type(model).from_config(model.get_config() | {"input_shape": (65, 65, 3)})
    elif model.name.startswith("mobilenetv2"):
        static = keras.applications.MobileNetV2((65, 65, 3), 0.125, include_top=False, weights=None)
    else:
        static = keras.applications.MobileNetV3Small(
            (65, 65, 3), 0.25, include_top=False, weights=None, include_preprocessing=False
        )
    static.set_weights(model.get_weights())
    return static


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0"])
def test_equals_the_original_on_odd_sizes(name):
    expected = of_static_size(theirs(name))(IMAGES, training=False).numpy()
    features, auxiliary = ours(theirs(name))(IMAGES, training=False)
    assert expected.std() > 1e-3
    assert_close(features, expected, 1e-4)
    assert auxiliary.shape[1:3] == (5, 5)


@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2", "efficientnet_lite0"])
def test_dilation_is_exact(name):
    sparse, _ = ours(theirs(name))(IMAGES, training=False)
    for output_stride in (8, 16):
        features, auxiliary = ours(theirs(name), output_stride)(IMAGES, training=False)
        step = 32 // output_stride
        assert features.shape[1:3] == auxiliary.shape[1:3] == (64 // output_stride + 1,) * 2
        assert_close(features[:, ::step, ::step], sparse.numpy(), 1e-4)


def test_squeeze_and_excitation_averages_over_the_finer_grid():
    model = theirs("mobilenet_v3_small")
    expected, dilated = (ours(model, stride)(IMAGES, training=False)[0] for stride in (32, 8))
    assert dilated.shape[1:3] == (9, 9)
    assert 0 < np.abs(dilated[:, ::4, ::4] - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "output_stride"), [("mobilenet_v3_small", 8), ("efficientnet_lite0", 16)])
def test_takes_any_size_in_one_graph(name, output_stride):
    model = ours(theirs(name), output_stride)
    graph = tf.function(
        lambda images: model(images, training=False)[0], input_signature=[tf.TensorSpec([None] * 3 + [3])]
    )
    for height, width in ((1, 1), (33, 50), (64, 2)):
        shape = graph(np.ones((1, height, width, 3), np.float32)).shape
        assert shape[1:3] == (math.ceil(height / output_stride), math.ceil(width / output_stride))


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0"])
def test_is_synchronised_and_not_random(name):
    dilated = ours(theirs(name), 8)
    norms = [layer for layer in dilated.layers if isinstance(layer, layers.BatchNormalization)]
    assert all(isinstance(norm, SyncBatchNorm) and norm.synchronized for norm in norms)
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-3, 0.9)}
    assert not any("Drop" in type(layer).__name__ for layer in dilated.layers)
    assert not any("seed" in variable.path for variable in dilated.variables)
    first, second = (dilated(IMAGES, training=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_gradients_reach_every_variable_in_the_policy_in_force(policy):
    model = theirs("mobilenet_v3_small")
    keras.config.set_dtype_policy(policy)
    try:
        dilated = ours(model, 8)
    finally:
        keras.config.set_dtype_policy("float32")
    with tf.GradientTape() as tape:
        features = dilated(IMAGES, training=True)[0]
        loss = tf.reduce_mean(tf.cast(features, tf.float32) ** 2)
    assert features.dtype == policy.removeprefix("mixed_")
    gradients = tape.gradient(loss, dilated.trainable_variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    assert all(variable.dtype == "float32" for variable in dilated.variables)


def test_a_layer_that_is_float32_on_purpose_stays_so():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        dilated = ours(toy(layers.Activation("tanh", dtype="float32", name="exact"), layers.ReLU(name="any")))
    finally:
        keras.config.set_dtype_policy("float32")
    assert dilated.get_layer("exact").compute_dtype == "float32"
    assert dilated.get_layer("any").compute_dtype == "bfloat16"


def test_names_and_weights_are_the_same_at_every_making():
    first, second = (ours(keras_network("mobilenet_v3_small", 16), 8) for _ in range(2))
    assert [layer.name for layer in first.layers[1:]] == [layer.name for layer in second.layers[1:]]
    assert [weight.path for weight in first.weights] == [weight.path for weight in second.weights]


def test_densenet_has_output_stride_32_only():
    model = theirs("densenet121")
    images = IMAGES[:, :64, :64]  # where its pooling drops nothing
    dilated = ours(model)
    assert_close(dilated(images, training=False)[0], model(images, training=False).numpy(), 1e-4)
    assert dilated(images[:, :1, :1])[0].shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=r"densenet121: layer pool4_pool .* --set model.output_stride=32"):
        ours(model, 16)


def test_a_nested_decoder_resizes_to_the_finest_map_instead_of_upsampling():
    """Upsampling by an integer fits multiples of the stride only; by the places of features, all sizes fit."""
    images = keras.Input((None, None, 3))
    encoder_in = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, strides=2, padding="same", name="fine")(encoder_in)
    coarse = layers.Conv2D(4, 3, strides=2, padding="same", name="coarse")(fine)
    encoder = keras.Model(encoder_in, {"fine": fine, "coarse": coarse})
    levels = encoder(images)
    up = layers.UpSampling2D(2)(
        keras.Sequential([layers.Conv2D(4, 1, name="inner"), layers.Dropout(0.5)])(levels["coarse"])
    )
    model = keras.Model(images, layers.Concatenate(name="join")([up, levels["fine"]]), name="decoder")

    inputs = keras.Input((None, None, 3))
    backbone = make_dilated(model, inputs, 32)
    assert backbone.weight_layers == {"fine", "coarse", "inner"}
    dilated = keras.Model(inputs, backbone.last)
    dilated.get_layer("coarse").set_weights([np.zeros((3, 3, 4, 4)), np.arange(4.0)])
    dilated.get_layer("inner").set_weights([np.eye(4)[None, None], np.zeros(4)])
    outputs = dilated(np.ones((1, 13, 6, 3), np.float32))
    assert outputs.shape == (1, 7, 3, 8)
    assert_close(outputs[..., :4], np.broadcast_to(np.arange(4.0), (1, 7, 3, 4)))


def test_pooling_is_symmetric_and_a_mere_stride_can_be_traded():
    model = toy(
        layers.AveragePooling2D(3, 2, "same"),
        layers.MaxPooling2D(3, 2, "same"),
        *(layers.MaxPooling2D(1, 2) for _ in range(2)),
    )
    mirror = np.random.default_rng(0).normal(size=(1, 65, 33, 3)).astype(np.float32)
    strided, dilated = ours(model), ours(model, 8)
    for network in (strided, dilated):
        kernel = network.layers[-1].kernel
        kernel.assign((kernel + kernel[:, ::-1]) / 2)
        assert_close(network(mirror[:, :, ::-1])[0][:, :, ::-1], network(mirror)[0].numpy(), 1e-5)
    assert_close(dilated(mirror)[0][:, ::4, ::4], strided(mirror)[0].numpy(), 1e-5)


SQUARE = {"use_bias": False, "padding": "same"}


def beside(*paths: list) -> Callable:
    """The mean of several stacks on one map."""

    def joined(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Average()([functools.reduce(lambda y, layer: layer(y), path, x) for path in paths])

    return joined


@pytest.mark.parametrize(
    ("stack", "offset"),
    [
        ([], 0),
        ([layers.AveragePooling2D(2)], 0.5),
        ([layers.AveragePooling2D(2), layers.AveragePooling2D(2, padding="same")], 1.5),
        ([layers.AveragePooling2D(3, padding="valid")], 1),
        ([layers.AveragePooling2D(4), layers.AveragePooling2D(2)], 3.5),
        ([layers.AveragePooling2D(3, 2, "same")], 0),
        ([layers.ZeroPadding2D(1), layers.AveragePooling2D(3, 2)], 0),
        ([layers.ZeroPadding2D(((0, 1), (0, 1))), layers.AveragePooling2D(3, 2)], 1),
        ([layers.ZeroPadding2D(((1, 0), (1, 0))), layers.AveragePooling2D(2, 2)], -0.5),
        ([layers.ZeroPadding2D(((0, 1), (0, 1))), layers.Conv2D(1, 3, 2, use_bias=False)], 0),
        ([layers.Conv2D(1, 3, 2, **SQUARE), layers.SeparableConv2D(1, 4, **SQUARE)], 1),
        ([layers.Conv2D(1, 3, 2, **SQUARE), layers.SeparableConv2D(1, 3, use_bias=False)], 2),
        ([beside([layers.AveragePooling2D(2)], [layers.Conv2D(1, 3, 2, **SQUARE)])], 0.25),
        ([beside([layers.Conv2D(1, 3, **SQUARE)], [layers.AveragePooling2D(4), layers.UpSampling2D(4)])], 0),
    ],
)
def test_features_stand_on_the_pixels_that_their_grid_says(stack, offset):
    """Of an image of coordinates, windows that are all positive give the coordinates of their middle."""
    images = keras.Input((None, None, 1))
    x = images
    for layer in stack:
        x = layer(x)
    model = keras.Model(images, layers.Conv2D(1, 3, 2, **SQUARE)(x), name="toy")
    inputs = keras.Input((None, None, 1))
    found = make_dilated(model, inputs, 32)
    dilated = keras.Model(inputs, found.last)
    for variable in dilated.weights:
        variable.assign(np.full(variable.shape, 1 / np.prod(variable.shape), np.float32))
    assert found.grid.offset == offset
    for length in (250, 251, 256, 257):
        positions = np.broadcast_to(np.arange(length, dtype=np.float32)[:, None, None], (1, length, 120, 1))
        features = dilated(positions, training=False).numpy()[0]
        features = features[:, features.shape[1] // 2, 0]
        expected = found.grid.offset + found.grid.stride * np.arange(len(features))
        np.testing.assert_allclose(features[4:-4], expected[4:-4], atol=1e-2)


@pytest.mark.parametrize("pooling", [layers.MaxPooling2D, layers.AveragePooling2D])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_windows_side_by_side_are_the_original_s_where_they_fill_the_image(pooling, size):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, layers.Conv2D(4, 1)(pooling(size)(images)), name="toy")
    randomize(model)
    image = IMAGES[:, : 8 * size, : 4 * size]
    assert_close(ours(model)(image)[0], model(image).numpy())
    assert ours(model)(image[:, :1, :1])[0].shape[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("stack", "output_stride", "told"),
    [
        ([layers.Conv2DTranspose(3, 3, 2, name="odd")], 32, "layer odd .* has strides"),
        ([layers.Conv2D(3, 4, 2, padding="same", name="odd")], 32, "odd .* needs an odd, square kernel"),
        ([layers.Conv2D(3, 3, name="odd")], 32, "odd .* needs a border of 1 pixels"),
        ([layers.ZeroPadding2D(4), layers.Conv2D(3, 3, name="odd")], 32, "odd .* needs a border of 1 pixels"),
        ([layers.ZeroPadding2D(1), layers.ReLU(name="odd")], 32, "odd .* is behind a ZeroPadding2D"),
        ([layers.MaxPooling2D(3, 2, name="odd")], 32, "odd .* has windows that are not padded"),
        ([layers.RandomContrast(0.5, name="odd")], 32, "odd .* is random"),
        ([layers.BatchNormalization(scale=False, name="odd")], 32, None),
        ([layers.Conv2D(3, 1, 8, name="even"), layers.SeparableConv2D(3, 3, name="odd")], 16, None),
        ([layers.Conv2D(3, 1, 32), layers.SeparableConv2D(3, 3, name="odd")], 16, "odd .* cannot be dilated"),
        ([layers.Conv2D(3, 1, 32), layers.MaxPooling2D(3, 1, "same", name="odd")], 8, "odd .* cannot be dilated"),
        (
            [layers.Conv2D(3, 3, padding="same", dilation_rate=(1, 2), name="odd")],
            32,
            "odd .* the same strides and rate",
        ),
        ([layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2, "same", name="odd")], 32, "odd .* is padded"),
        ([layers.ZeroPadding2D(((0, 1), (1, 0))), layers.MaxPooling2D(2, 2, name="odd")], 32, "odd .* same border"),
        ([layers.ZeroPadding2D(((4, 0), (4, 0))), layers.MaxPooling2D(1, 2, name="odd")], 32, "odd .* border of 0"),
        ([layers.Conv2D(3, 1, 3), layers.Conv2D(3, 1, 3, name="odd")], 8, "odd .* not lead to an output stride of 8"),
        ([layers.Cropping2D(1, name="odd")], 32, "odd .* moves features"),
        ([layers.CenterCrop(9, 9, name="odd")], 32, "odd .* moves features"),
        ([layers.Resizing(9, 9, name="odd")], 32, "odd .* moves features"),
        ([layers.Conv2DTranspose(3, 3, padding="same", name="odd")], 32, "odd .* moves features"),
        ([lambda x: x[:, 1:]], 32, "GetItem.* moves features"),
        ([lambda x: x[:, ::2, ::2, :2]], 32, "GetItem.* moves features"),
        ([lambda x: keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])], 32, "Pad.* moves features"),
        ([lambda x: x[..., :2], lambda x: x[:, :, :, 1:]], 32, None),
        ([], 4, "output_stride must be 8, 16 or 32"),
    ],
)
def test_what_cannot_be_made_fit_is_refused_by_name(stack, output_stride, told):
    if told is None:
        ours(toy(*stack), output_stride)
        return
    with pytest.raises(ValueError, match=told):
        ours(toy(*stack), output_stride)


def test_a_layer_may_be_used_twice_at_one_stride_only():
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    assert ours(toy(shared, shared), 8).get_layer("shared").weights
    with pytest.raises(ValueError, match=r"shared .* is used at several strides"):
        ours(toy(shared, layers.Conv2D(3, 1, 16), shared), 8)
