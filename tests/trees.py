"""Fixtures: a small tree in the Cityscapes layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.sample import Sample
from acfnet_tf.importers.cityscapes import list_samples

SIZE = (40, 80)


@pytest.fixture(scope="session")
def write_pair() -> Callable[[Path, str, str, np.ndarray, np.ndarray], None]:
    """Writes one image with its mask where the Cityscapes layout wants them."""

    def write(root: Path, split: str, name: str, image: np.ndarray, label_ids: np.ndarray) -> None:
        city = name.split("_")[0]
        for folder, suffix, pixels in (("leftImg8bit", "", image), ("gtFine", "_labelIds", label_ids)):
            path = root / folder / split / city / f"{name}_{folder}{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)

    return write


@pytest.fixture
def cityscapes_root(tmp_path: Path, write_pair: Callable) -> Path:
    """7 images of train in two cities, 3 of val, 1 of test, each 40 × 80 of noise, with all labelIds in every mask."""
    rng = np.random.default_rng(0)
    root = tmp_path / "cityscapes"
    names = [("train", "aachen", 4), ("train", "zurich", 3), ("val", "frankfurt", 3), ("test", "berlin", 1)]
    for split, city, count in names:
        for frame in range(count):
            image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
            label_ids = rng.permutation(np.arange(SIZE[0] * SIZE[1]) % 34).astype(np.uint8).reshape(SIZE)
            write_pair(root, split, f"{city}_{frame:06d}_000019", image, label_ids)
    return root


@pytest.fixture
def train_samples(cityscapes_root: Path) -> list[Sample]:
    return list_samples(cityscapes_root, "train")
