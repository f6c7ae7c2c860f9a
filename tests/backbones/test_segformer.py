"""SegFormer as a base network: any size, nothing random, and weights that fit layer by layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.backbones.segformer import segformer
from acfnet_tf.layers import SyncBatchNorm
from acfnet_tf.pretrained.keras_hub import segformer_from_keras
from tests.oracle import assert_close
from tests.saving import randomize


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """The smallest SegFormer with random weights."""
    images = keras.Input((None, None, 3))
    found = segformer(images, "segformer_b0", width=8)
    model = keras.Model(images, [found.last, found.next_to_last])
    randomize(model)
    return model


def test_one_trace_takes_all_sizes(network):
    traced = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for height, width in [(1, 1), (33, 50), (64, 5)]:
        features, auxiliary = traced(image(2, height, width, 3))
        assert features.shape == (2, -(-height // 4), -(-width // 4), 32)
        assert auxiliary.shape == (2, -(-height // 16), -(-width // 16), 20)
        assert np.isfinite(features).all() and np.isfinite(auxiliary).all()


def test_an_image_s_features_do_not_depend_on_the_others_of_its_batch(network):
    images = image(3, 40, 24, 3)
    for alone, together in zip(network(images[1:2]), network(images), strict=True):
        assert_close(alone, together.numpy()[1:2])


def test_nothing_is_random_in_training(network):
    images = image(2, 32, 32, 3)
    for once, again in zip(network(images, training=True), network(images, training=True), strict=True):
        np.testing.assert_array_equal(once, again)
    assert not [layer for layer in network._flatten_layers() if "drop" in type(layer).__name__.lower()]
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and all(isinstance(norm, SyncBatchNorm) for norm in norms)


def test_gradients_reach_every_weight(network):
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(maps * image(*maps.shape)) for maps in network(image(2, 70, 64, 3), training=True))
    gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient.numpy()).all(), variable.path
        # A bias before BatchNorm moves nothing; nor does that of the keys, which all pixels' logits share.
        if len(variable.shape) > 1:
            assert np.abs(gradient.numpy()).max() > 0, variable.path


def test_a_mixed_policy_reaches_every_layer():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        images = keras.Input((None, None, 3))
        model = keras.Model(images, segformer(images, width=2).last)
    finally:
        keras.config.set_dtype_policy(before)
    assert model(image(1, 33, 40, 3)).dtype == tf.bfloat16
    parts = [layer for layer in model._flatten_layers(include_self=False) if layer.weights]
    assert {layer.compute_dtype for layer in parts} == {"bfloat16"}


def test_pretrained_weights_are_for_the_encoder_and_fit_in_the_order_of_keras_s_mix_transformer():
    from keras_cv.models import MiTBackbone

    theirs = MiTBackbone(
        include_rescaling=False, depths=[2, 2, 2, 2], input_shape=(64, 64, 3), embedding_dims=[2, 4, 10, 16]
    )
    images = keras.Input((None, None, 3))
    base = segformer(images, "segformer_b0", width=4)
    model, names = keras.Model(images, base.last), base.weight_layers
    ours = {name: [tuple(weight.shape) for weight in model.get_layer(name).weights] for name in names}
    found = segformer_from_keras(theirs, "MiT")
    assert {name: [array.shape for array in arrays] for name, arrays in found.layers.items()} == ours
    assert {layer.name for layer in model.layers if layer.weights} - names == {
        *(f"decoder_linear_{index}" for index in range(4)),
        "decoder_fuse",
    }
