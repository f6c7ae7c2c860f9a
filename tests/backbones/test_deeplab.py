"""DeepLabV3+ of keras_cv, with any image size and our pyramid."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.backbones.deeplab import deeplab
from acfnet_tf.backbones.features import Features
from acfnet_tf.layers import ASPP, SyncBatchNorm
from acfnet_tf.pretrained.keras_cv_weights import deeplab_imagenet
from tests.oracle import assert_close
from tests.saving import randomize


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def made() -> tuple[keras.KerasTensor, Features]:
    images = keras.Input((None, None, 3))
    return images, deeplab(images, width=4)


@pytest.fixture(scope="module")
def network(made) -> keras.Model:
    images, found = made
    model = keras.Model(images, [found.features, found.auxiliary])
    randomize(model)
    return model


def their_resnet(rescaling: bool = False) -> keras.Model:
    from keras_cv.models import ResNetV2Backbone

    return ResNetV2Backbone(
        stackwise_filters=[4, 8, 16, 32],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=rescaling,
        input_shape=(65, 65, 3),
    )


def test_one_trace_takes_all_sizes(network):
    traced = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for height, width in [(1, 1), (33, 50), (64, 5)]:
        features, auxiliary = traced(image(2, height, width, 3))
        assert features.shape == (2, -(-height // 4), -(-width // 4), 16)
        assert auxiliary.shape == (2, -(-height // 16), -(-width // 16), 64)
        assert np.isfinite(features).all() and np.isfinite(auxiliary).all()


def test_resnet_equals_that_of_keras_cv_with_its_weights(made, monkeypatch):
    images, found = made
    theirs = their_resnet(rescaling=True)
    randomize(theirs)
    monkeypatch.setattr(type(theirs), "from_preset", lambda preset: theirs)
    pretrained = deeplab_imagenet()
    ours = keras.Model(images, [found.auxiliary, found.features])
    for name in found.layer_names:
        ours.get_layer(name).set_weights(pretrained.layers[name])
    assert found.layer_names == set(pretrained.layers), "all of their layers, and no others"
    assert pretrained.unused == ["post_bn"]
    photo = np.random.default_rng(0).integers(0, 256, (2, 65, 65, 3)).astype(np.float32)
    stages = keras.Model(theirs.input, theirs.get_layer("v2_stack_2_block6_out").output)
    normalized = (photo - pretrained.settings["pixel_mean"]) / pretrained.settings["pixel_std"]
    assert_close(ours(normalized.astype(np.float32))[0], stages(photo, training=False).numpy(), 1e-4)


def test_the_decoder_joins_the_pyramid_with_the_finest_stage(network):
    names = {layer.name for layer in network.layers}
    assert isinstance(network.get_layer("aspp"), ASPP)
    assert network.get_layer("aspp").rates == (6, 12, 18)
    assert {"low_level_feature_conv", "segmentation_head_conv"} <= names
    assert network.get_layer("segmentation_head_conv").input.shape == (None, None, None, 16 + 3)
    assert "segmentation_output" not in names


def test_nothing_is_random_in_training_and_batch_norms_are_synchronised(network):
    images = image(2, 33, 33, 3)
    for once, again in zip(network(images, training=True), network(images, training=True), strict=True):
        np.testing.assert_array_equal(once, again)
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and all(isinstance(norm, SyncBatchNorm) for norm in norms)


def test_gradients_reach_every_kernel(network):
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(maps * image(*maps.shape)) for maps in network(image(2, 129, 65, 3), training=True))
    kernels = [variable for variable in network.trainable_variables if len(variable.shape) > 1]
    for variable, gradient in zip(kernels, tape.gradient(loss, [kernel.value for kernel in kernels]), strict=True):
        assert np.isfinite(gradient.numpy()).all(), variable.path
        assert np.abs(gradient.numpy()).max() > 0, variable.path


def test_a_width_without_channels_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        deeplab(keras.Input((None, None, 3)), width=1)
