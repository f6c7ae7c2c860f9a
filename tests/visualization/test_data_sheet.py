"""Contact sheets show image, overlay and mask of readable samples, and crops as training sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from acfnet_tf.data.classes import IGNORED, ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.visualization.data_sheet import write_augmented_sheet, write_contact_sheet

RED, GREEN, MAGENTA, BLACK = (255, 0, 0), (0, 255, 0), (255, 0, 255), (0, 0, 0)
CLASSES = ClassSet(("cat", "dog"), (RED, GREEN), {1: 0, 2: 1, 0: IGNORED})
GREY = (101, 101, 101)


def make_sample(
    folder: Path,
    name: str,
    values: tuple[int, ...],
    size: tuple[int, int] = (40, 80),
    image_size: tuple[int, int] = (40, 80),
) -> Sample:
    """A grey image, and a mask of upright stripes."""
    image, mask = folder / f"{name}.png", folder / f"{name}_mask.png"
    Image.new("RGB", image_size[::-1], GREY).save(image)
    stripes = np.repeat(np.uint8(values), size[1] // len(values))
    Image.fromarray(np.tile(stripes, (size[0], 1))).save(mask)
    return Sample(name, str(image), str(mask))


def colors_along(file: Path, y: int) -> list[tuple[int, int, int]]:
    """The colours met on a row of pixels, but those of single pixels, where a smooth panel mixes them."""
    row = [tuple(pixel) for pixel in np.asarray(Image.open(file))[y].tolist()]
    wide = [row[x] for x in range(10, len(row)) if row[x] == row[x - 10] and len(set(row[x - 10 : x])) == 1]
    return [color for index, color in enumerate(wide) if index == 0 or color != wide[index - 1]]


@pytest.mark.parametrize("size", [(40, 80), (1001, 2000)])
def test_image_overlay_and_mask_stand_side_by_side(tmp_path: Path, size: tuple[int, int]) -> None:
    sample = make_sample(tmp_path, "a", (1, 2, 0, 9), size, size)
    file = write_contact_sheet([sample], CLASSES, tmp_path / "new" / "sheet.png")
    assert file == tmp_path / "new" / "sheet.png"
    mixed = [tuple((GREY[i] + color[i]) // 2 for i in range(3)) for color in (RED, GREEN, BLACK, MAGENTA)]
    assert colors_along(file, 150) == [GREY, *mixed, RED, GREEN, BLACK, MAGENTA]


def test_samples_are_spread_and_bad_ones_replaced(tmp_path: Path) -> None:
    samples = [make_sample(tmp_path, f"{index}", (1, 2)) for index in range(9)]
    heights = [Image.open(write_contact_sheet(samples, CLASSES, tmp_path / "sheet.png", n)).height for n in (1, 2, 3)]
    row = heights[1] - heights[0]
    assert heights[2] - heights[1] == row > 200
    Path(samples[0].image).write_bytes(b"")
    samples[3] = make_sample(tmp_path, "small", (1, 2), size=(20, 40))
    samples[6] = samples[6]._replace(label=None)
    assert Image.open(write_contact_sheet(samples, CLASSES, tmp_path / "sheet.png", 3)).height == heights[2]


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_to_draw(tmp_path: Path, count: int) -> None:
    samples = [Sample("a", str(tmp_path / "none.png"), str(tmp_path / "none.png"))] * count
    assert write_contact_sheet(samples, CLASSES, tmp_path / "sheet.png") is None
    assert write_augmented_sheet([], CLASSES, tmp_path / "sheet.png") is None
    assert list(tmp_path.iterdir()) == []


def test_augmented_crops(tmp_path: Path) -> None:
    def batches():
        for _ in range(2):
            label = np.full((2, 40, 40), 255, np.uint8)
            label[:, :, :20] = 1
            yield {"image": tf.fill((2, 40, 40, 3), 100.6), "label": tf.constant(label)}
        raise AssertionError("a batch too many")

    file = write_augmented_sheet(batches(), CLASSES, tmp_path / "sheet.png", 4)
    mixed = [tuple((GREY[i] + color[i]) // 2 for i in range(3)) for color in (GREEN, BLACK)]
    assert colors_along(file, 150) == [GREY, *mixed, GREEN, BLACK]
    assert Image.open(file).height > 4 * 400
