"""The figures of `--mode=visualize`, each as PNG and PDF."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.failures import Failures
from acfnet_tf.heads import FINE
from acfnet_tf.paths import unified
from acfnet_tf.pictures import Picture, read_picture
from acfnet_tf.progress import ProgressBar
from acfnet_tf.reports.scores import iou_of_images
from acfnet_tf.settings import suggest
from acfnet_tf.tables import percent
from acfnet_tf.visualization.attention import draw_attention
from acfnet_tf.visualization.centers import centers_of, draw_center_variation, draw_centers
from acfnet_tf.visualization.confusions import draw_class_bars, draw_confusion, rank_images
from acfnet_tf.visualization.panels import Run, save
from acfnet_tf.visualization.segmentations import draw_results
from acfnet_tf.visualization.similarity import draw_similarity

IMAGES = {"results": 8, "similarity": 1, "centers": 32, "attention": 1, "errors": 8}
"""What can be drawn, and of how many images unless the user says."""
SHEET = 8
"""So many images have a figure of their own beside the one of all, or a row in a sheet."""
Pixel = tuple[int, int]
"""(x, y) from the upper left corner."""
Figures = Iterator[tuple[str, Figure]]
"""Names and figures, each drawn when it is asked for."""


def visualize(
    what: str,
    runs: Sequence[Run],
    samples: Sequence[Sample],
    classes: ClassSet,
    folder: Path,
    *,
    images: int | None = None,
    pixels: Sequence[str] = (),
    class_names: Sequence[str] = (),
    max_pixels: int | None = None,
) -> list[Path]:
    """Draws the figures of one kind.

    An image that cannot be read, or a figure that cannot be written, does not stop the others.

    Args:
        what: one of `IMAGES`.
        runs: the last is the user's own; those before it are shown beside it where a figure compares.
        samples: what to draw; those without mask have no truth.
        images: how many of the samples; errors: how many of the worst.
        pixels: "x,y", for similarity and attention.
        class_names: whose attention maps are drawn; by default those that occur.
        max_pixels: larger images without mask are refused.

    Returns:
        The PNG files; a PDF lies beside each.

    Raises:
        UserError: there are no samples, a pixel or class that there is not, or a figure that this kind of network does
            not have; or, when all others are drawn, an image that cannot be read or a figure that cannot be written.
    """
    points = [parse_pixel(pixel) for pixel in pixels]
    shown = [_class_index(name, classes) for name in class_names] or None
    count, failures, files = images or IMAGES[what], Failures(), []
    pictures = _read(samples[:count], classes, max_pixels, failures)
    if what == "results":
        figures = _results(runs, pictures, classes)
    elif what == "centers":
        figures = _centers(runs[-1], pictures, classes, failures, several=min(count, len(samples)) > 1)
    elif what == "errors":
        figures = _errors(runs, samples, classes, count, failures)
    else:
        figures = _of_pixels(what, runs, pictures, classes, failures, points, shown)
    # Closed where drawing fails, so that the message stands in a line of its own below the progress bar.
    with contextlib.closing(pictures):
        for name, figure in figures:
            with failures.of_one():
                files.append(save(figure, folder / name))
    failures.raise_any(len(files) + len(failures.errors), "figures")
    return files


def parse_pixel(text: str) -> Pixel:
    """The numbers of "x,y".

    Raises:
        UserError: the text is not of this form.
    """
    if not (match := re.fullmatch(r"\s*\(?\s*(\d+)\s*,\s*(\d+)\s*\)?\s*", text)):
        raise UserError(f"--pixel={text}: expected x,y, two whole numbers counted from the upper left corner: 250,120")
    return int(match[1]), int(match[2])


def _class_index(name: str, classes: ClassSet) -> int:
    names = [unified(each) for each in classes.names]
    if unified(name) not in names:
        raise UserError(f"--classes: no class {name!r}. {suggest(name, classes.names)}")
    return names.index(unified(name))


def _read(
    samples: Sequence[Sample], classes: ClassSet, max_pixels: int | None, failures: Failures
) -> Generator[Picture, None, None]:
    """The pictures one after the other; those that cannot be read become failures.

    Raises:
        UserError: there are none.
    """
    if not samples:
        raise UserError("no images to draw")
    for sample in ProgressBar(samples, "Drawing", unit="image"):
        picture = None
        with failures.of_one():
            picture = read_picture(sample, classes, max_pixels)
        if picture:
            yield picture


def _results(runs: Sequence[Run], pictures: Iterable[Picture], classes: ClassSet) -> Figures:
    sheet = []
    for picture in pictures:
        yield f"{picture.name}_results", draw_results(runs, [picture], classes)
        sheet = [*sheet, picture][:SHEET]
    if len(sheet) > 1:
        yield "results", draw_results(runs, sheet, classes)


def _centers(run: Run, pictures: Iterable[Picture], classes: ClassSet, failures: Failures, *, several: bool) -> Figures:
    gathered = []
    for number, picture in enumerate(pictures):
        if number < SHEET:
            yield f"{picture.name}_centers", draw_centers(run, picture, classes)
        if several:
            gathered.append(centers_of(run, picture, len(classes)))
    # Where others could not be read, too few may be left: that is then one failure more.
    with failures.of_one() if failures.errors else contextlib.nullcontext():
        if several:
            yield "centers", draw_center_variation(gathered, classes)


def _of_pixels(
    what: str,
    runs: Sequence[Run],
    pictures: Iterable[Picture],
    classes: ClassSet,
    failures: Failures,
    points: Sequence[Pixel],
    shown: Sequence[int] | None,
) -> Figures:
    """Of each picture in which all the pixels lie, its similarity or its attention."""
    for picture in pictures:
        height, width = picture.size
        if what == "similarity" and not points:
            raise UserError(
                f"--what=similarity wants a pixel, such as --pixel={width // 2},{height // 2}: x from 0 (left) to"
                f" {width - 1} and y from 0 (top) to {height - 1} in {picture.name}"
            )
        try:
            for point in points:
                picture.check_pixel(*point)
        except UserError as error:
            failures.errors.append(error)
            continue
        if what == "similarity":
            yield f"{picture.name}_similarity", draw_similarity(runs, [(picture, point) for point in points], classes)
        else:
            yield f"{picture.name}_attention", draw_attention(runs[-1], picture, points, shown, classes)


def _errors(
    runs: Sequence[Run], samples: Sequence[Sample], classes: ClassSet, count: int, failures: Failures
) -> Figures:
    """The worst images of the last run, its confusion matrix, and the classes' IoU."""
    if any(sample.label is None for sample in samples):
        raise UserError("--what=errors wants images with masks: a split of the data, not --input")
    counted = evaluate(runs[-1].predictor, samples, classes)
    yield "errors_classes", draw_class_bars(counted.matrices, classes)
    yield "errors_confusion", draw_confusion(counted.matrices[FINE], classes)
    scores, worst = iou_of_images(counted.images[FINE]), rank_images(counted.images[FINE])[:count]
    shown = {samples[index].name: f"{samples[index].name} ({percent(scores[index])} %)" for index in worst}
    read = _read([samples[index] for index in worst], classes, None, failures) if worst else ()
    if pictures := [picture._replace(name=shown[picture.name]) for picture in read]:
        yield "errors_worst", draw_results(runs, pictures, classes)
