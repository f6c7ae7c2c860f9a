"""Class weights: published, counted in three ways, or given."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import IGNORED
from acfnet_tf.errors import ConfigError
from acfnet_tf.importers.open import open_data
from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, weights_from_counts
from acfnet_tf.recipes import load_experiment
from acfnet_tf.train import count_class_pixels
from acfnet_tf.training.class_balance import class_weights


def weights(
    scenes: Path, choice: str, say: Callable[[str], None] = print, names: tuple[str, ...] | None = None
) -> Sequence[float] | None:
    source = open_data(DataConfig(), str(scenes))
    if names:
        values = {
            value: min(label, 1) if label != IGNORED else IGNORED for value, label in source.classes.values.items()
        }
        classes = dataclasses.replace(source.classes, names=names, colors=source.classes.colors[:2], values=values)
        source = dataclasses.replace(source, classes=classes)
    experiment = load_experiment("acf_sum", [f"train.loss.class_weights={choice}"])
    count = functools.partial(count_class_pixels, source, source.list_samples("train"), False)
    return class_weights(experiment, source.classes, count, say)


def test_none_and_published(tiny_scenes):
    assert weights(tiny_scenes, "none") is None
    assert weights(tiny_scenes, "cityscapes") == CITYSCAPES_CLASS_WEIGHTS


def test_the_published_ones_are_for_cityscapes_only(tiny_scenes):
    said = []
    counted = weights(tiny_scenes, "cityscapes", said.append, names=("road", "rest"))
    np.testing.assert_array_equal(counted, weights(tiny_scenes, "inverse_log", names=("road", "rest")))
    assert counted.shape == (2,) and "counted anew" in said[0]


def test_given_ones(tiny_scenes):
    assert weights(tiny_scenes, ",".join(["1.5", *["1"] * 18])) == (1.5, *[1.0] * 18)
    for wrong in ("1,2", ",".join(["-1"] * 19)):
        with pytest.raises(ConfigError, match=r"weights for 19 classes|a finite number of at least 0"):
            weights(tiny_scenes, wrong)


def test_counted_ones_follow_their_formulas():
    """Two images of 100 labelled pixels; class 2 never occurs."""
    counted = weights_from_counts(np.array([[90, 10, 0], [100, 0, 0]]))
    ratios = {
        "inverse_log": np.log(10) / np.log(190),
        "enet": np.log(1.02 + 10 / 200) / np.log(1.02 + 190 / 200),
        "median_frequency": (200 / 190) / (100 / 10),  # class 1 is in the first image only
    }
    assert counted.keys() == ratios.keys()
    for name, ratio in ratios.items():
        assert counted[name][0] / counted[name][1] == pytest.approx(ratio)
        assert counted[name][:2].mean() == pytest.approx(1) and counted[name][2] == 1
        assert np.isfinite(weights_from_counts(np.zeros((1, 3), np.int64))[name]).all()


def test_they_are_counted_once(tiny_scenes, tmp_path, monkeypatch):
    import shutil

    from acfnet_tf.importers import counts as counting

    scenes = shutil.copytree(tiny_scenes, tmp_path / "scenes")
    first = weights(scenes, "enet")
    monkeypatch.setattr(counting, "read_values", None)
    np.testing.assert_array_equal(weights(scenes, "enet"), first)
