"""Panels show image, truth, coarse and fine in their columns, in the class colours, over a legend."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import UserError
from acfnet_tf.data.labels.cityscapes import CITYSCAPES
from acfnet_tf.data.sample import Sample
from acfnet_tf.visualization.panels import write_panels


class Constant:
    """Stands in for a predictor: fine is road everywhere, coarse is sky."""

    def __init__(self, heads=("fine", "coarse")) -> None:
        self.heads = heads

    def labels(self, image: np.ndarray) -> dict[str, np.ndarray]:
        classes = {"fine": 0, "coarse": 10}
        return {head: np.full(image.shape[:2], classes[head], np.uint8) for head in self.heads}


def make_sample(folder, name: str, size=(40, 60), labelled: bool = True) -> Sample:
    height, width = size
    Image.new("RGB", (width, height), (200, 100, 50)).save(folder / f"{name}.png")
    label_ids = np.full(size, 26, np.uint8)  # car
    label_ids[:, : width // 2] = 0  # void
    Image.fromarray(label_ids).save(folder / f"{name}_labelIds.png")
    return Sample(name, str(folder / f"{name}.png"), str(folder / f"{name}_labelIds.png") if labelled else None)


def colors_along(file, y: int) -> list[tuple[int, int, int]]:
    """The colours met on a row of pixels, each once."""
    row = np.asarray(Image.open(file))[y]
    return [tuple(map(int, row[x])) for x in range(len(row)) if x == 0 or (row[x] != row[x - 1]).any()]


WHITE, BLACK = (255, 255, 255), (0, 0, 0)
ROAD, SKY, CAR = (CITYSCAPES.colors[CITYSCAPES.names.index(name)] for name in ("road", "sky", "car"))


def test_columns(tmp_path):
    sheet = write_panels(
        Constant(), [make_sample(tmp_path, "a")], tmp_path / "figures", CITYSCAPES, panel_width=120, progress=False
    )
    assert sheet == tmp_path / "figures" / "panels.png"
    for file in (sheet, tmp_path / "figures" / "a_panels.png"):
        expected = [WHITE, (200, 100, 50), WHITE, BLACK, CAR, WHITE, SKY, WHITE, ROAD, WHITE]
        assert colors_along(file, 60) == expected


def test_without_truth_and_coarse_head(tmp_path):
    sample = make_sample(tmp_path, "a", labelled=False)
    sheet = write_panels(
        Constant(("fine",)), [sample], tmp_path / "figures", CITYSCAPES, panel_width=120, progress=False
    )
    assert colors_along(sheet, 60) == [WHITE, (200, 100, 50), WHITE, ROAD, WHITE]


def test_sheet_stacks_rows_of_different_shapes(tmp_path):
    samples = [make_sample(tmp_path, "a"), make_sample(tmp_path, "b", (60, 60)), make_sample(tmp_path, "c")]
    figures = tmp_path / "figures"
    sheet = write_panels(Constant(), samples, figures, CITYSCAPES, panel_width=120, sheet_rows=2, progress=False)
    assert sorted(file.name for file in figures.iterdir()) == [
        "a_panels.png",
        "b_panels.png",
        "c_panels.png",
        "panels.png",
    ]
    heights = {file.stem: Image.open(file).height for file in figures.iterdir()}
    assert heights["panels"] == heights["a_panels"] + 120 + 6  # the second row and its gap
    assert Image.open(sheet).width == 4 * 120 + 5 * 6


def test_no_samples(tmp_path):
    with pytest.raises(UserError, match="no samples"):
        write_panels(Constant(), [], tmp_path, CITYSCAPES)
