"""Mask values are counted once, again where a mask has changed, and bad masks are named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers import counts as statistics
from acfnet_tf.importers.counts import all_values, class_pixels, count_values


@pytest.fixture
def masks(train_samples: list[Sample]) -> list[str]:
    return [sample.label for sample in train_samples]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The masks that were read, as they are read."""
    read, seen = statistics.read_values, []

    def noting(mask: str, coding: str) -> np.ndarray:
        seen.append(mask)
        return read(mask, coding)

    monkeypatch.setattr(statistics, "read_values", noting)
    return seen


def test_counts_every_class_and_no_void(masks: list[str]) -> None:
    counts = count_values(masks, "index")
    assert all_values(counts).tolist() == list(range(34))
    pixels = class_pixels(masks, counts, CITYSCAPES)
    assert pixels.dtype == np.int64 and pixels.shape == (7, 19)
    labels = [CITYSCAPES.table[np.asarray(Image.open(mask))] for mask in masks]
    assert pixels.tolist() == [[(label == index).sum() for index in range(19)] for label in labels]


def test_colors_are_counted(tmp_path: Path) -> None:
    Image.fromarray(np.array([[(1, 0, 2), (0, 1, 0), (1, 0, 2)]], np.uint8)).save(tmp_path / "a.png")
    ((values, pixels),) = count_values([str(tmp_path / "a.png")], "color")
    assert values.tolist() == [256, 65_538] and pixels.tolist() == [1, 2]


def test_only_changed_masks_are_counted_again(masks: list[str], tmp_path: Path, counted: list[str]) -> None:
    first = count_values(masks[:5], "index", tmp_path)
    assert sorted(counted) == sorted(masks[:5])
    counted.clear()
    Image.fromarray(np.full((40, 80), 7, np.uint8)).save(masks[1])
    second = count_values(masks, "index", tmp_path)
    assert sorted(counted) == sorted([masks[1], *masks[5:]])
    assert second[1].values.tolist() == [7] and second[1].pixels.tolist() == [3200]
    for index in (0, 2, 3, 4):
        np.testing.assert_array_equal(first[index], second[index])
    counted.clear()
    for before, after in zip(second, count_values(masks, "index", tmp_path), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not counted
    (tmp_path / ".acfnet_tf" / "masks_index.npz").write_bytes(b"damaged")
    assert len(count_values(masks, "index", tmp_path)) == len(counted) == 7


def test_data_that_cannot_be_written_to_are_counted_each_time(masks: list[str], tmp_path: Path) -> None:
    (tmp_path / ".acfnet_tf").write_text("a file where the folder would be")
    assert len(count_values(masks, "index", tmp_path)) == 7
    assert os.listdir(tmp_path).count(".acfnet_tf") == 1


def test_bad_masks_are_named_or_left_out(masks: list[str]) -> None:
    Image.fromarray(np.full((40, 80), 77, np.uint8)).save(masks[1])
    with pytest.raises(DataError, match="77") as caught:
        class_pixels(masks, count_values(masks, "index"), CITYSCAPES)
    assert masks[1] in str(caught.value)
    Path(masks[2]).write_bytes(b"")
    with pytest.raises(DataError, match=masks[2]):
        count_values(masks, "index")
    pixels = class_pixels(masks, count_values(masks, "index", skip_bad=True), CITYSCAPES, skip_bad=True)
    assert (pixels.sum(axis=1) > 0).tolist() == [True, False, False, True, True, True, True]
    Path(masks[3]).unlink()
    with pytest.raises(DataError, match=masks[3]):
        count_values(masks, "index")


def test_of_a_mask_that_went_bad_no_old_counts_are_left(masks: list[str], tmp_path: Path) -> None:
    count_values(masks, "index", tmp_path)
    Path(masks[2]).write_bytes(b"")
    for _ in range(2):
        counts = count_values(masks, "index", tmp_path, skip_bad=True)
        assert [len(values) > 0 for values, _ in counts] == [index != 2 for index in range(7)]
