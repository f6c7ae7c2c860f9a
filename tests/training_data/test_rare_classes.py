"""Rare classes come as often as the temperature asks, and are in their crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.sample import Sample
from acfnet_tf.training_data.rare_classes import RareClassOrder
from tests.data.test_pipeline import index_classes, run, same


def test_rare_classes_are_drawn_and_are_in_their_crops(tmp_path: Path) -> None:
    """One image of ten has 12 pixels of class 1."""
    samples, pixels = [], np.zeros((10, 2), np.int64)
    for index in range(10):
        mask = np.zeros((200, 300), np.uint8)
        if index == 6:
            mask[150:153, 40:44] = 1
        photo, file = tmp_path / f"{index}.jpg", tmp_path / f"{index}.png"
        Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(photo)
        Image.fromarray(mask).save(file)
        samples.append(Sample(str(index), str(photo), str(file)))
        pixels[index] = np.bincount(mask.ravel(), minlength=2)
    config, classes = DataConfig(crop_size=(32, 32), scale_range=(0.9, 1.1)), index_classes(2)

    def share_with_class_1(temperature: float | None) -> float:
        order = RareClassOrder(1, pixels, temperature) if temperature else SampleOrder(10, 1)
        crops = run(samples, config, last=150, classes=classes, order=order)
        assert same(crops[60:63], run(samples, config, first=60, last=63, classes=classes, order=order))
        return np.mean([(crop["label"] == 1).any() for crop in crops])

    assert share_with_class_1(None) < 0.1
    assert share_with_class_1(0.01) == 1.0  # exp(−1 / 0.01): class 0 is as good as never drawn
    assert 0.35 < share_with_class_1(100.0) < 0.65


def test_the_smallest_temperature_draws_the_rarest_class_that_occurs() -> None:
    pixels = np.array([[900, 100, 0], [1000, 0, 0]])  # class 2 occurs nowhere
    order = RareClassOrder(1, pixels, 1.2e-38)
    assert {tuple(map(int, order(index))) for index in range(20)} == {(0, 1)}
