"""The figures of `--mode=visualize`, each as PNG and PDF."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample, read_image
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.label_files import some_failed
from acfnet_tf.metrics.confusion import iou_of_images
from acfnet_tf.paths import unified
from acfnet_tf.progress import ProgressBar
from acfnet_tf.settings import suggest
from acfnet_tf.visualization.attention import draw_attention
from acfnet_tf.visualization.centers import draw_center_variation, draw_centers
from acfnet_tf.visualization.errors import draw_class_bars, draw_confusion, rank_images
from acfnet_tf.visualization.figure import Picture, Run, save
from acfnet_tf.visualization.results import draw_results
from acfnet_tf.visualization.similarity import draw_similarity

IMAGES = {"results": 8, "similarity": 1, "centers": 32, "attention": 1, "errors": 8}
"""What can be drawn, and of how many images unless the user says."""
SHEET = 8
"""So many images have a figure of their own beside the one of all, or a row in a sheet."""
Pixel = tuple[int, int]
"""(x, y) from the upper left corner."""


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
        classes: of the data and all runs.
        folder: for the figures; made if needed.
        images: how many of the samples; errors: how many of the worst.
        pixels: "x,y", for similarity and attention.
        class_names: whose attention maps are drawn; by default those that occur.
        max_pixels: larger images without mask are refused.

    Returns:
        The PNG files; a PDF lies beside each.

    Raises:
        UserError: no samples, a pixel that is none or outside of an image, a class that there is not, a figure that
            this kind of network does not have.
            Or (after all others are drawn) an image or mask cannot be read, or a figure not be written.
    """
    points = [parse_pixel(pixel) for pixel in pixels]
    shown = [_class_index(name, classes) for name in class_names] or None
    count = images or IMAGES[what]
    if what == "errors":
        return _errors(runs, samples, classes, folder, count)
    faults: list[UserError] = []
    # Closed where drawing fails, so that the message stands in a line of its own below the progress bar.
    with contextlib.closing(_read(samples[:count], classes, max_pixels, faults)) as pictures:
        if what == "results":
            files = _results(runs, pictures, classes, folder, faults)
        elif what == "centers":
            files = _centers(runs[-1], pictures, classes, folder, faults, several=min(count, len(samples)) > 1)
        elif what == "similarity":
            files = _similarity(runs, pictures, classes, folder, faults, points)
        else:
            files = _attention(runs[-1], pictures, classes, folder, faults, points, shown)
    return _all_drawn(files, faults)


def parse_pixel(text: str) -> Pixel:
    """ "x,y" as numbers.

    Raises:
        UserError: it is not of this form.
    """
    if not (match := re.fullmatch(r"\s*\(?\s*(\d+)\s*,\s*(\d+)\s*\)?\s*", text)):
        raise UserError(f"--pixel={text}: expected x,y, two whole numbers counted from the upper left corner: 250,120")
    return int(match[1]), int(match[2])


def _are_inside(pixels: Iterable[Pixel], picture: Picture, faults: list[UserError]) -> bool:
    """Whether all of them lie in the picture; one that does not is a fault."""
    height, width = picture.image.shape[:2]
    for x, y in pixels:
        if x >= width or y >= height:
            faults.append(
                UserError(
                    f"--pixel={x},{y} lies outside of {picture.name}, which is {width}×{height}:"
                    f" x goes from 0 to {width - 1}, y from 0 to {height - 1}"
                )
            )
            return False
    return True


def _class_index(name: str, classes: ClassSet) -> int:
    names = [unified(each) for each in classes.names]
    if unified(name) not in names:
        raise UserError(f"--classes: no class {name!r}. {suggest(name, classes.names)}")
    return names.index(unified(name))


def _all_drawn(files: list[Path], faults: Sequence[UserError]) -> list[Path]:
    """The files, if all could be drawn."""
    if not faults:
        return files
    if len(faults) == 1 and not files:
        raise faults[0]
    raise some_failed(faults, len(files) + len(faults), "figures")


def _save(figure: Figure, stem: Path, faults: list[UserError]) -> list[Path]:
    """The figure's file; none, and a fault more, where it cannot be written."""
    try:
        return [save(figure, stem)]
    except UserError as error:
        faults.append(error)
        return []


def _read(
    samples: Sequence[Sample], classes: ClassSet, max_pixels: int | None, faults: list[UserError]
) -> Generator[Picture, None, None]:
    """The pictures one after the other; those that cannot be read become faults.

    Raises:
        UserError: there are none.
    """
    if not samples:
        raise UserError("no images to draw")
    for sample in ProgressBar(samples, "Drawing", unit="image"):
        try:
            if sample.label is None:
                picture = Picture(sample.name, read_image(sample.image, max_pixels=max_pixels))
            else:
                picture = Picture(sample.name, *load_sample(sample, classes))
        except UserError as error:
            faults.append(error)
            continue
        yield picture


def _results(
    runs: Sequence[Run], pictures: Iterable[Picture], classes: ClassSet, folder: Path, faults: list[UserError]
) -> list[Path]:
    files, sheet = [], []
    for picture in pictures:
        files += _save(draw_results(runs, [picture], classes), folder / f"{picture.name}_results", faults)
        sheet = [*sheet, picture][:SHEET]
    return [*files, *_save(draw_results(runs, sheet, classes), folder / "results", faults)] if len(sheet) > 1 else files


def _centers(
    run: Run, pictures: Iterable[Picture], classes: ClassSet, folder: Path, faults: list[UserError], *, several: bool
) -> list[Path]:
    files, shown = [], 0

    def draw_each() -> Iterator[Picture]:
        nonlocal files, shown
        for picture in pictures:
            if shown < SHEET:
                files += _save(draw_centers(run, picture, classes), folder / f"{picture.name}_centers", faults)
            shown += 1
            yield picture

    if not several:
        list(draw_each())
        return files
    try:
        variation = draw_center_variation(run, draw_each(), classes)
    except UserError as error:
        if not faults:
            raise
        faults.append(error)  # too few are left
        return files
    return [*_save(variation, folder / "centers", faults), *files]


def _similarity(
    runs: Sequence[Run],
    pictures: Iterable[Picture],
    classes: ClassSet,
    folder: Path,
    faults: list[UserError],
    points: Sequence[Pixel],
) -> list[Path]:
    files = []
    for picture in pictures:
        height, width = picture.image.shape[:2]
        if not points:
            raise UserError(
                f"--what=similarity wants a pixel, such as --pixel={width // 2},{height // 2}: x from 0 (left) to"
                f" {width - 1} and y from 0 (top) to {height - 1} in {picture.name}"
            )
        if _are_inside(points, picture, faults):
            figure = draw_similarity(runs, [(picture, point) for point in points], classes)
            files += _save(figure, folder / f"{picture.name}_similarity", faults)
    return files


def _attention(
    run: Run,
    pictures: Iterable[Picture],
    classes: ClassSet,
    folder: Path,
    faults: list[UserError],
    points: Sequence[Pixel],
    shown: Sequence[int] | None,
) -> list[Path]:
    files = []
    for picture in pictures:
        if _are_inside(points, picture, faults):
            figure = draw_attention(run, picture, points, shown, classes)
            files += _save(figure, folder / f"{picture.name}_attention", faults)
    return files


def _errors(runs: Sequence[Run], samples: Sequence[Sample], classes: ClassSet, folder: Path, count: int) -> list[Path]:
    """The worst images of the last run, its confusion matrix, and the classes' IoU."""
    if any(sample.label is None for sample in samples):
        raise UserError("--what=errors wants images with masks: a split of the data, not --input")
    found = evaluate(runs[-1].predictor, samples, classes)
    scores = iou_of_images(found.images["fine"])
    faults: list[UserError] = []
    files = [
        *_save(draw_class_bars(found.matrices, classes), folder / "errors_classes", faults),
        *_save(draw_confusion(found.matrices["fine"], classes), folder / "errors_confusion", faults),
    ]
    if worst := rank_images(found.images["fine"])[:count]:
        pictures = _read([samples[index] for index in worst], classes, None, faults)
        shares = {samples[index].name: 100 * scores[index] for index in worst}
        if named := [picture._replace(name=f"{picture.name} ({shares[picture.name]:.1f} %)") for picture in pictures]:
            files += _save(draw_results(runs, named, classes), folder / "errors_worst", faults)
    return _all_drawn(files, faults)
