"""What the page knows of an image: what networks make of it, and of one of its pixels. Nothing here is a web page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acfnet_tf.data.reading import read_image
from acfnet_tf.errors import UserError
from acfnet_tf.heads import COARSE
from acfnet_tf.inference.averaging import is_plain
from acfnet_tf.layers.resize import Grid
from acfnet_tf.pictures import Picture
from acfnet_tf.visualization.inspection import Inspection, inspector_of, unit_length
from acfnet_tf.visualization.panels import Run


class Analysis(NamedTuple):
    """What is kept of a user's image.

    Attributes:
        labels: of each run, {head: (H, W)}.
        inspections: of each run, with unit features in float16; None until a pixel was asked for.
        pixel: the last one (x, y) that was asked for.
    """

    picture: Picture
    labels: tuple[dict[str, np.ndarray], ...]
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


def analyze(picture: Picture, runs: Sequence[Run]) -> Analysis:
    """What runs, whose networks know the same classes, say of an image."""
    return Analysis(picture, tuple(run.predictor.labels(picture.image) for run in runs))


def probe(analysis: Analysis, runs: Sequence[Run], pixel: tuple[int, int]) -> tuple[Analysis, list[Probe]]:
    """Looks at a pixel (x, y). Features are computed for the first one and kept in the analysis for the others.

    Raises:
        UserError: the pixel lies outside of the image, or a run's model is no ACFNet.
    """
    image = analysis.picture.image
    analysis.picture.check_pixel(*pixel)
    inspections = analysis.inspections or tuple(_compact(inspector_of(run.predictor)(image)) for run in runs)
    probes = [_probe(run, inspection, image, pixel) for run, inspection in zip(runs, inspections, strict=True)]
    return analysis._replace(inspections=inspections, pixel=pixel), probes


def _probe(run: Run, inspection: Inspection, image: np.ndarray, pixel: tuple[int, int]) -> Probe:
    cell = inspection.cell(pixel)
    similarity = {head: (unit @ unit[cell]).astype(np.float32) for head, unit in inspection.features.items()}
    if is_plain(run.predictor.evaluation):
        probabilities = {head: inspection.probabilities_at(head, pixel) for head in inspection.probabilities}
    else:  # These are means over windows, scales and flips, which are too many to keep for every pixel.
        x, y = pixel
        probabilities = {head: values[y, x] for head, values in run.predictor.probabilities(image).items()}
    attention = inspection.probabilities[COARSE][cell] if inspection.attends else None
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


def areas(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The share (N,) of the image that each class covers, 0 … 1."""
    return np.bincount(labels.ravel(), minlength=num_classes)[:num_classes] / labels.size


def occurring(analysis: Analysis, num_classes: int) -> list[int]:
    """The classes that any head of any run finds in the image."""
    total = sum(areas(labels, num_classes) for by_head in analysis.labels for labels in by_head.values())
    return np.flatnonzero(total).tolist()


def _compact(inspection: Inspection) -> Inspection:
    """Without what the page does not ask for, and with unit features in float16: 67 MB each at 256×256×512."""
    features = {head: unit_length(values).astype(np.float16) for head, values in inspection.features.items()}
    return inspection._replace(features=features, class_features=None, centers=None)
