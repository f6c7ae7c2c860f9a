"""Pixel counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import Sample
from acfnet_tf.data.cityscapes_labels import TRAIN_IDS
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.statistics import count_pixels


def test_counts_every_class_and_no_void(train_samples: list[Sample]) -> None:
    counts = count_pixels(train_samples)
    assert counts.dtype == np.int64 and counts.shape == (19,)
    train_ids = np.stack([TRAIN_IDS[np.asarray(Image.open(sample.label))] for sample in train_samples])
    assert counts.tolist() == [(train_ids == index).sum() for index in range(19)]
    assert counts.sum() == (train_ids != 255).sum() < train_ids.size


def test_fewer_classes(train_samples: list[Sample]) -> None:
    np.testing.assert_array_equal(count_pixels(train_samples, 5), count_pixels(train_samples)[:5])


def test_bad_masks_are_named(train_samples: list[Sample]) -> None:
    with pytest.raises(DataError, match=train_samples[1].image):
        count_pixels([train_samples[0], train_samples[1]._replace(label=None)])
    Path(train_samples[2].label).write_bytes(b"")
    with pytest.raises(DataError, match=train_samples[2].label):
        count_pixels(train_samples)
