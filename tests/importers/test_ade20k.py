"""The layout of ADE20K."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.reading import load_sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers.ade20k import open_ade20k
from acfnet_tf.importers.presets import PRESETS

CONFIG = DataConfig(format="ade20k")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """2 images of train, 1 of val, 1 of testing without its mask."""
    root = tmp_path / "ADEChallengeData2016"
    for split, name in (("training", "t1"), ("training", "t2"), ("validation", "v1"), ("testing", "x1")):
        for folder in ("images", "annotations"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 1)).save(root / f"images/{split}/{name}.jpg")
        if split != "testing":
            Image.fromarray(np.array([[0, 1, 150]], np.uint8)).save(root / f"annotations/{split}/{name}.png")
    return root


@pytest.mark.parametrize("given", ["ADEChallengeData2016", "."])
def test_lists_pairs(root: Path, given: str) -> None:
    source = open_ade20k(CONFIG, str(root.parent / given))
    names = {split: [sample.name for sample in source.list_samples(split)] for split in source.splits}
    assert names == {"train": ["t1", "t2"], "val": ["v1"], "trainval": ["t1", "t2", "v1"], "testing": ["x1"]}
    assert source.name == f"ADE20K layout {root}" and source.list_samples("testing")[0].label is None
    label = load_sample(source.list_samples("val")[0], source.classes)[1]
    assert label.tolist() == [[255, 0, 149]]


def test_classes(root: Path) -> None:
    classes = open_ade20k(CONFIG, str(root)).classes
    assert len(classes) == len(set(classes.names)) == len(classes.colors) == 150
    assert (classes.names[0], classes.names[12], classes.names[149]) == ("wall", "person", "flag")
    assert classes.colors[12] == (150, 5, 61)
    assert open_ade20k(CONFIG, str(root), PRESETS["voc"]).classes is PRESETS["voc"]


def test_wrong_folders(root: Path, tmp_path: Path) -> None:
    (root / "annotations/training/t2.png").unlink()
    with pytest.raises(DataError, match=r"t2\.jpg: its mask .*annotations/training/t2\.png is missing \(1 of 2"):
        open_ade20k(CONFIG, str(root)).list_samples("train")
    with pytest.raises(DataError, match=r"no such folder\. Give the folder ADEChallengeData2016"):
        open_ade20k(CONFIG, str(root / "images"))
