"""Writes small folders of images and masks as users have them, and collects what is said of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.sample import DataSource
from acfnet_tf.errors import DataError
from acfnet_tf.importers.folder import open_folder

CONFIG = DataConfig(format="folder")
INDEX_MASK = np.array([[0, 1], [2, 255]], np.uint8)


def picture(file: Path, pixels: np.ndarray | None = None) -> Path:
    """Writes an image, black if there are no pixels given."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8) if pixels is None else pixels).save(file)
    return file


def write_pairs(images: Path, masks: Path, names: Iterable[str], mask: np.ndarray = INDEX_MASK) -> None:
    for name in names:
        picture(images / f"{name}.jpg")
        picture(masks / f"{name}.png", mask)


def names(source: DataSource, split: str) -> list[str]:
    return [sample.name for sample in source.list_samples(split)]


def message(root: Path, split: str = "train", **settings: object) -> str:
    """What is said when the folder is opened, or else when the split is listed."""
    with pytest.raises(DataError) as caught:
        open_folder(DataConfig(format="folder", **settings), str(root)).list_samples(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)
