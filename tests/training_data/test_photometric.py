"""Changes of colours: a function of the seed, within their ranges, of the image alone."""

from __future__ import annotations

import dataclasses
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import DataConfig, Photometric
from acfnet_tf.data.augmentation import augment
from acfnet_tf.errors import ConfigError
from acfnet_tf.training_data.photometric import RANGES, change_colors


def crop(image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, config: DataConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """As the pipeline makes it."""
    image, label = augment(image, label, seed, config)
    if config.photometric:
        image = change_colors(image, tf.random.experimental.stateless_fold_in(seed, 1), config.photometric)
    return image, label


def run(image: np.ndarray, label: np.ndarray, seed: int, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    image, label = crop(tf.constant(image), tf.constant(label), tf.constant([7, seed], tf.int64), config)
    assert image.dtype == tf.float32 and label.dtype == tf.uint8
    return image.numpy(), label.numpy()


def test_photometric_distortion_leaves_the_mask_alone_and_the_image_in_range() -> None:
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (20, 30, 3), np.uint8), rng.integers(0, 19, (20, 30), np.uint8)
    plain = DataConfig(crop_size=(16, 16))
    changed = 0
    for seed in range(30):
        (before, mask), (after, other) = (
            run(image, label, seed, config) for config in (plain, DataConfig(crop_size=(16, 16), photometric=True))
        )
        np.testing.assert_array_equal(mask, other)
        assert after.min() >= 0 and after.max() <= 255
        changed += np.abs(before - after).max() > 3
        np.testing.assert_array_equal(
            after, run(image, label, seed, DataConfig(crop_size=(16, 16), photometric=True))[0]
        )
    assert 24 <= changed < 30  # in one of 16 nothing is drawn


@pytest.mark.parametrize("kind", RANGES)
def test_each_change_of_colors_is_a_function_of_the_seed_and_spares_the_mask(kind: str) -> None:
    """Also in half precision, in tf.data, and for an image of a single pixel."""
    rng = np.random.default_rng(0)
    image, label = rng.integers(60, 150, (20, 30, 3), np.uint8), rng.integers(0, 19, (20, 30), np.uint8)
    pair = tf.constant(image), tf.constant(label)
    plain = DataConfig(crop_size=(16, 16), scale_range=(1, 1))
    config = dataclasses.replace(plain, photometric=(kind,))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        data = tf.data.Dataset.range(20).map(lambda seed: crop(*pair, tf.stack([7, seed]), config))
        first, second = list(data.as_numpy_iterator()), list(data.as_numpy_iterator())
    finally:
        keras.config.set_dtype_policy("float32")
    changed = 0
    for seed, ((after, mask), (again, _)) in enumerate(zip(first, second, strict=True)):
        before, same = run(image, label, seed, plain)
        np.testing.assert_array_equal(after, again)
        np.testing.assert_array_equal(mask, same)
        assert after.dtype == np.float32 and after.min() >= 0 and after.max() <= 255
        changed += np.abs(before - after).max() > 0.5
    assert 4 <= changed <= 16
    for seed in range(5):
        assert np.isfinite(run(image[:1, :1], label[:1, :1], seed, config)[0]).all()


def test_changes_of_colors_are_those_that_may_be_set_and_do_not_depend_on_each_other() -> None:
    assert tuple(RANGES) == get_args(Photometric)
    assert DataConfig(photometric="hue,contrast") == DataConfig(photometric=["hue", "contrast"])
    assert DataConfig(photometric="true").photometric is True and DataConfig(photometric="false").photometric is False
    with pytest.raises(ConfigError, match=r"data.photometric = .*hu.*: expected true or false or a comma-separated"):
        DataConfig(photometric="hu")
    image, seed = tf.fill((4, 4, 3), 100.0), tf.constant([0, 3], tf.int64)
    brighter = change_colors(image, seed, ["brightness"])
    assert 0 < np.abs(brighter - image).max() <= 32
    # A grey image has neither hue nor saturation: only the brightness is left.
    np.testing.assert_allclose(change_colors(image, seed, ["hue", "brightness"]), brighter, atol=1e-4)


def test_photometric_distortion_has_the_usual_ranges() -> None:
    """Of one colour, an image shows the brightness only where it is grey, and else the hue, and no contrast."""
    grey = tf.fill((1, 1, 3), 100.0)
    draw = tf.function(lambda image, seed: change_colors(image, tf.stack([tf.constant(0, tf.int64), seed]), True))
    values = np.array([draw(grey, tf.constant(seed, tf.int64))[0, 0].numpy() for seed in range(600)])
    assert np.abs(values - values[:, :1]).max() < 1e-3
    assert 67.9 < values.min() < 72 and 128 < values.max() < 132.1
    red = tf.constant([[[120.0, 60.0, 60.0]]])  # nothing is clipped
    colors = np.array([draw(red, tf.constant(seed, tf.int64))[0, 0].numpy() for seed in range(300)])
    # The hue turns by 36° at most, so that red stays the largest and the others part by 0.6 of the difference at most.
    assert (colors[:, 0] >= colors[:, 1:].max(axis=1) - 1e-3).all()
    spread = (colors[:, 1] - colors[:, 2]) / np.maximum(colors[:, 0] - colors[:, 1:].min(axis=1), 1e-6)
    assert 0.5 < np.abs(spread).max() <= 0.6 + 1e-3
