"""What the page knows of an image: what networks make of it, and of one of its pixels. Nothing here is a web page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample, read_image
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.inference.averaging import is_plain
from acfnet_tf.layers.resize import Grid, interpolation
from acfnet_tf.visualization.figure import Picture, Run
from acfnet_tf.visualization.inspection import Inspection, Inspector, unit_length

Labels = dict[str, np.ndarray]
"""{head: (H, W)}."""


class Analysis(NamedTuple):
    """What is kept of a user's image.

    Attributes:
        picture: the image, and its truth if it has one.
        labels: what each run says of it.
        inspections: of each run, with unit features in float16; None until a pixel was asked for.
        pixel: the last one (x, y) that was asked for.
    """

    picture: Picture
    labels: tuple[Labels, ...]
    inspections: tuple[Inspection, ...] | None = None
    pixel: tuple[int, int] | None = None


class Probe(NamedTuple):
    """What one run makes of a pixel.

    Attributes:
        similarity: {head: (h, w) float32}, cosine similarity of the features before the head to those at the pixel.
        probabilities: {head: (N,)}, as `Predictor.probabilities` gives them.
        attention: (N,), how much of each class center the pixel's features receive; None where nothing attends.
        grid: the pixels on which the positions of `similarity` stand.
    """

    similarity: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    attention: np.ndarray | None
    grid: Grid


class Analyst:
    """Asks some runs about images and pixels.

    Args:
        runs: whose networks know the same classes.

    Raises:
        UserError: a run's model is no ACFNet.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self._inspectors = [Inspector(run.predictor.model) for run in runs]

    def analyze(self, picture: Picture) -> Analysis:
        return Analysis(picture, tuple(run.predictor.labels(picture.image) for run in self.runs))

    def probe(self, analysis: Analysis, pixel: tuple[int, int]) -> tuple[Analysis, list[Probe]]:
        """Looks at a pixel (x, y). Features are computed for the first one and kept in the analysis for the others.

        Raises:
            UserError: the pixel lies outside of the image.
        """
        (x, y), (height, width) = pixel, analysis.picture.image.shape[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"Pixel ({x}, {y}) lies outside of the image, which is {width}×{height}:"
                f" x goes from 0 to {width - 1}, y from 0 to {height - 1}."
            )
        image = analysis.picture.image
        inspections = analysis.inspections or tuple(compact(inspector(image)) for inspector in self._inspectors)
        probes = [self._probe(run, one, image, pixel) for run, one in zip(self.runs, inspections, strict=True)]
        return analysis._replace(inspections=inspections, pixel=pixel), probes

    def _probe(self, run: Run, inspection: Inspection, image: np.ndarray, pixel: tuple[int, int]) -> Probe:
        cell = inspection.cell(pixel)
        similarity = {head: (unit @ unit[cell]).astype(np.float32) for head, unit in inspection.features.items()}
        if is_plain(run.predictor.evaluation):
            probabilities = {head: probabilities_at(inspection, head, pixel) for head in inspection.probabilities}
        else:  # means over windows, scales and flips, which are too many to keep for every pixel
            x, y = pixel
            probabilities = {head: values[y, x] for head, values in run.predictor.probabilities(image).items()}
        attention = inspection.probabilities["coarse"][cell] if inspection.attends else None
        return Probe(similarity, probabilities, attention, inspection.grid)


def read_upload(file: str, max_pixels: int) -> Picture:
    """An uploaded image, upright.

    Raises:
        UserError: no image, damaged, or of more pixels than allowed; the message calls the file by its name alone.
    """
    try:
        return Picture(Path(file).name, read_image(file, max_pixels=max_pixels, setting="explore.max_pixels"))
    except UserError as error:
        raise UserError(str(error).replace(file, Path(file).name)) from error


def read_sample(sample: Sample, classes: ClassSet) -> Picture:
    """A sample, with its truth if it has one.

    Raises:
        DataError: the image or its mask cannot be read.
    """
    if sample.label is None:
        return Picture(sample.name, read_image(sample.image))
    return Picture(sample.name, *load_sample(sample, classes))


def compact(inspection: Inspection) -> Inspection:
    """Without what the page does not ask for, and with unit features in float16: 67 MB each at 256×256×512."""
    features = {head: unit_length(values).astype(np.float16) for head, values in inspection.features.items()}
    return inspection._replace(features=features, class_features=None, centers=None)


def probabilities_at(inspection: Inspection, head: str, pixel: tuple[int, int]) -> np.ndarray:
    """The softmax (N,) of the logits as the network enlarges them, at one pixel (x, y).

    Logits are not needed for it: logarithms of probabilities differ from them by a number for each position, which
    softmax does not see.
    """
    x, y = pixel
    values = inspection.probabilities[head]
    rows, columns = (
        interpolation([place], count, *inspection.grid).numpy()[0]
        for place, count in zip((y, x), values.shape[:2], strict=True)
    )
    near = np.ix_(np.flatnonzero(rows), np.flatnonzero(columns))
    logits = np.log(np.maximum(values[near], np.finfo(np.float32).tiny))
    logits = np.einsum("r,rcn,c->n", rows[rows > 0], logits, columns[columns > 0])
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def in_order(heads: Collection[str]) -> list[str]:
    """Those of a run, in the order of the forward pass."""
    return [head for head in ("coarse", "fine") if head in heads]


def areas(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The share (N,) of the image that each class covers, 0 … 1."""
    return np.bincount(labels.ravel(), minlength=num_classes)[:num_classes] / labels.size


def occurring(analysis: Analysis, num_classes: int) -> list[int]:
    """The classes that any head of any run finds in the image."""
    found = sum(areas(labels, num_classes) for by_head in analysis.labels for labels in by_head.values())
    return np.flatnonzero(found).tolist()
