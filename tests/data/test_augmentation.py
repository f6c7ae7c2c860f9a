"""Augmentation: image and mask stay aligned; scale, place, flip and padding are what Section 4.2 asks for."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.config import DataConfig
from acfnet_tf.data.augmentation import augment, pad

PADDING = (127.5, 1.25, 200)


def run(image: np.ndarray, label: np.ndarray, seed: int, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    image, label = augment(tf.constant(image), tf.constant(label), tf.constant([7, seed], tf.int64), config)
    image, label = pad(image, label, config.crop_size, 255, PADDING)
    assert image.dtype == tf.float32 and label.dtype == tf.uint8
    return image.numpy(), label.numpy()


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red is the column and whose green is the row (both below 256), and a mask of its columns."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], -1), columns


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    scales=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)).map(lambda pair: tuple(sorted(pair))),
    seed=st.integers(0, 2**31),
)
def test_shapes_alignment_and_padding(
    size: tuple[int, int], crop: tuple[int, int], scales: tuple[float, float], seed: int
) -> None:
    image, label = coordinates(*size)
    config = DataConfig(crop_size=crop, scale_range=scales)
    image, label = run(image, label, seed, config)
    assert image.shape == (*crop, 3) and label.shape == crop

    inside = label != 255
    height, width = int(inside[:, 0].sum()), int(inside[0].sum())
    assert height >= 1 and width >= 1 and inside[:height, :width].all() and inside.sum() == height * width
    assert (image[~inside] == np.float32(PADDING)).all()
    # The mask holds the column of the nearest source pixel, the image the interpolated one: half a pixel apart at most.
    assert np.abs(image[..., 0][inside] - label[inside]).max() <= 0.5 + 1e-3
    # Padding only where the scaled image is smaller than the crop.
    for axis, used in enumerate((height, width)):
        smallest, largest = round(scales[0] * size[axis] - 1), round(scales[1] * size[axis] + 1)
        assert min(crop[axis], smallest) <= used <= min(crop[axis], largest)


def test_blocks_agree_away_from_their_borders() -> None:
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 19, (6, 8)), np.ones((20, 20))).astype(np.uint8)
    image = np.repeat(label[..., None] * 10, 3, -1)
    for seed in range(20):
        cropped, mask = run(image, label, seed, DataConfig(crop_size=(97, 97)))
        wrong = np.abs(cropped[..., 0] - 10.0 * mask) > 1e-3
        inside = mask != 255
        # Interpolation mixes one source pixel on each side of a border, no more.
        borders = np.zeros_like(inside)
        borders[:, 1:] |= mask[:, 1:] != mask[:, :-1]
        borders[1:] |= mask[1:] != mask[:-1]
        near = tf.nn.max_pool2d(borders[None, ..., None].astype(np.float32), 5, 1, "SAME")[0, ..., 0].numpy() > 0
        assert not (wrong & inside & ~near).any()


def test_scale_offset_and_flip_are_distributed_as_asked() -> None:
    image, label = coordinates(100, 200)
    config = DataConfig(crop_size=(32, 32), scale_range=(0.5, 2.0))
    draw = tf.function(lambda seed: augment(tf.constant(image), tf.constant(label), seed, config))
    scales, flips, lefts, tops = [], [], [], []
    for seed in range(600):
        crop = draw(tf.constant([0, seed], tf.int64))[0].numpy()
        steps = np.diff(crop[2:-2, 2:-2, 0], axis=1)
        scales.append(1 / abs(steps.mean()))
        flips.append(steps.mean() < 0)
        window = np.round(32 / scales[-1])
        lefts.append((crop[:, :, 0].min()) / (200 - window))
        tops.append((crop[:, :, 1].min()) / (100 - window))
        assert np.diff(crop[2:-2, 2:-2, 1], axis=0).mean() > 0  # never upside down
    assert 0.48 < min(scales) < 0.52 and 1.98 < max(scales) < 2.02
    assert abs(np.mean(scales) - 1.25) < 0.06  # uniform on [0.5, 2]: standard error 0.018
    assert abs(np.mean(flips) - 0.5) < 0.08
    for place in (lefts, tops):
        assert min(place) < 0.02 and max(place) > 0.98 and abs(np.mean(place) - 0.5) < 0.05
    # Each comes from a draw of its own.
    correlations = np.corrcoef([scales, flips, lefts, tops])
    assert np.abs(correlations - np.eye(4)).max() < 0.16


def test_without_chance_a_crop_of_the_whole_image_is_the_image() -> None:
    image, label = coordinates(30, 50)
    cropped, mask = run(image, label, 3, DataConfig(crop_size=(30, 50), scale_range=(1.0, 1.0), flip=False))
    np.testing.assert_array_equal(cropped, image)
    np.testing.assert_array_equal(mask, label)


def test_the_window_equals_scaling_the_whole_image_and_cropping() -> None:
    rng = np.random.default_rng(1)
    image, label = rng.integers(0, 256, (48, 64, 3), np.uint8), rng.integers(0, 19, (48, 64), np.uint8)
    cropped, mask = run(image, label, 0, DataConfig(crop_size=(24, 24), scale_range=(2.0, 2.0), flip=False))
    whole = tf.image.resize(image, (96, 128)).numpy()
    masks = tf.image.resize(label[..., None], (96, 128), "nearest").numpy()[..., 0]
    places = [
        (top, left) for top in range(0, 73, 2) for left in range(0, 105, 2)
        if (masks[top : top + 24, left : left + 24] == mask).all()
    ]  # fmt: skip
    assert len(places) == 1
    top, left = places[0]
    # All but the rim, where the window knows nothing of the pixel beyond it.
    difference = np.abs(cropped - whole[top : top + 24, left : left + 24])[1:-1, 1:-1]
    assert difference.max() < 1e-3


def test_flip_can_be_switched_off() -> None:
    image, label = coordinates(40, 40)
    for seed in range(10):
        cropped, _ = run(image, label, seed, DataConfig(crop_size=(16, 16), flip=False))
        assert np.diff(cropped[..., 0], axis=1).mean() > 0


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_pure_function_of_the_seed(dtype: tf.DType) -> None:
    image, label = coordinates(40, 60)
    config = DataConfig(crop_size=(20, 20))
    first, again, other = (
        augment(tf.constant(image), tf.constant(label), tf.constant(seed, dtype), config)[0].numpy()
        for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_anchor_is_in_the_crop_anywhere() -> None:
    """The pixel (33, 150) of 100×200; uniform among the places where it can be."""
    image, label = coordinates(100, 200)
    config = DataConfig(crop_size=(16, 16), scale_range=(1.0, 1.0), flip=False)
    draw = tf.function(
        lambda seed: augment(tf.constant(image), tf.constant(label), seed, config, tf.constant([33, 150]))
    )
    places = []
    for seed in range(300):
        crop = draw(tf.constant([0, seed], tf.int64))[0].numpy()
        found = np.argwhere((crop[..., 0] == 150) & (crop[..., 1] == 33))
        assert len(found) == 1
        places.append(found[0])
    assert np.min(places, axis=0).tolist() == [0, 0] and np.max(places, axis=0).tolist() == [15, 15]
    assert np.abs(np.mean(places, axis=0) - 7.5).max() < 1


@settings(max_examples=20, deadline=None)
@given(row=st.integers(0, 29), column=st.integers(0, 49), seed=st.integers(0, 1000))
def test_any_anchor_at_any_scale(row: int, column: int, seed: int) -> None:
    label = np.zeros((30, 50), np.uint8)
    label[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 1  # large enough to survive half the size
    arguments = tf.zeros((30, 50, 3), tf.uint8), tf.constant(label), tf.constant([0, seed], tf.int64)
    _, values = augment(*arguments, DataConfig(crop_size=(13, 13)), tf.constant([row, column]))
    assert (values.numpy() == 1).any()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    scale=st.floats(0.4, 2.5),
    seed=st.integers(0, 100),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int32]),
)
def test_masks_are_resized_as_tensorflow_resizes(size: tuple[int, int], scale: float, seed: int, dtype: type) -> None:
    """The whole image, in a crop that is larger than it, sometimes flipped."""
    values = np.random.default_rng(seed).integers(0, 200, size).astype(dtype)
    config = DataConfig(crop_size=(300, 300), scale_range=(scale, scale))
    image, resized = augment(
        tf.constant(np.repeat(values[..., None].astype(np.uint8), 3, 2)), tf.constant(values), [0, seed], config
    )
    assert resized.dtype == dtype and resized.shape == image.shape[:2]
    whole, mirrored = (
        tf.image.resize(each[..., None], resized.shape, "nearest").numpy()[..., 0] for each in (values, values[:, ::-1])
    )
    assert np.array_equal(resized, whole) or np.array_equal(resized, mirrored)
