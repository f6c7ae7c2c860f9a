"""Labels for a user's own images: index, colour and overlay files."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from acfnet_tf.data.reading import read_image
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.files import replaced, write_errors
from acfnet_tf.inference.overlap import read_ahead
from acfnet_tf.paths import check_writable, find_images
from acfnet_tf.progress import ProgressBar
from acfnet_tf.visualization.palette import Colors, colorize, overlay


def predict_files(
    predictor: Callable[[np.ndarray], np.ndarray],
    input: str | Path,
    output_dir: str | Path,
    colors: Colors,
    max_pixels: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Labels one image, or every image of a folder and its subfolders, whatever their sizes and formats.

    An image `sub/a.jpg` gives `sub/a.png` (class indices), `sub/a_color.png` and `sub/a_overlay.png`. Where two images
    of the folder would write the same file (`a.jpg` beside `a.png`), all names keep their suffix: `a.jpg.png`, … An
    image that cannot be read, or whose files cannot be written, does not stop the others. While the network labels one
    image, the next is read and the last one's files are written.

    Args:
        predictor: such as a `Predictor`: (H, W, 3) uint8 → (H, W) class indices.
        input: an image file or a folder.
        output_dir: made if needed; not the input's own folder, whose images would be overwritten. It may lie inside
            the input folder: what is in it is no input then.
        colors: (N, 3) of 0–255, such as `ClassSet.colors`.
        max_pixels: larger images are unreadable ones: they could take all memory.

    Returns:
        The index files, in the order of the images' names.

    Raises:
        UserError: nothing to do, `output_dir` is the input's own folder or cannot be written, or (after all others are
            done) some images could not be read or their files not be written; they are listed.
    """
    planned = plan(Path(input), Path(output_dir))
    check_writable(Path(output_dir))

    def read(file: Path) -> np.ndarray | DataError:
        try:
            return read_image(str(file), max_pixels=max_pixels)
        except DataError as error:
            return error

    written: list[Path] = []
    faults: list[UserError] = []

    def finish(files: Future[Path]) -> None:
        try:
            written.append(files.result())
        except UserError as error:
            faults.append(error)

    contents = read_ahead(read, [image for image, _ in planned])
    contents = ProgressBar(contents, "Predicting", len(planned), unit="image", disable=not progress)
    with ThreadPoolExecutor(max_workers=1) as writer:
        writing = None
        for image, (_, stem) in zip(contents, planned, strict=True):
            if isinstance(image, DataError):
                faults.append(image)
                continue
            labels = predictor(image)
            if writing:
                finish(writing)  # no more than one image waits to be written
            writing = writer.submit(_write, image, labels, Path(output_dir) / stem, colors)
        if writing:
            finish(writing)
    if faults:
        raise some_failed(faults, len(planned))
    return written


def some_failed(faults: Sequence[object], number: int, things: str = "images") -> UserError:
    """What to say when all images, or what is made of them, but these are done."""
    unread = things == "images" and all(isinstance(fault, DataError) for fault in faults)
    how = "could not be read" if unread else "failed"
    lines = "\n  ".join(map(str, faults))
    return UserError(f"{len(faults)} of {number} {things} {how}; the others are done:\n  {lines}")


def output_stems(images: Sequence[Path]) -> list[Path]:
    """Where each image's files go, without their endings. No two images share a file."""
    stems = [image.with_suffix("") for image in images]
    files = Counter(file for stem in stems for file in _outputs(stem))
    return list(images) if max(files.values()) > 1 else stems


def plan(input: Path, output_dir: Path | None = None) -> list[tuple[Path, Path]]:
    """The images of a file or folder, and where in `output_dir` the files of each go, without their endings.

    Raises:
        DataError: there are none, or the output would overwrite them.
    """
    names = [file.relative_to(input) if input.is_dir() else Path(file.name) for file in find_images(input, output_dir)]
    root = input if input.is_dir() else input.parent
    stems = output_stems(names)
    if output_dir:
        target, inside = output_dir.resolve(), root.resolve()
        lost = {target / file for stem in stems for file in _outputs(stem)} & {inside / name for name in names}
        if lost:
            raise DataError(
                f"{min(lost)} would be overwritten by labels: choose another output folder than {output_dir}"
            )
    return [(root / name, stem) for name, stem in zip(names, stems, strict=True)]


def _outputs(stem: Path) -> tuple[Path, Path, Path]:
    """The index, colour and overlay file."""
    return tuple(stem.with_name(stem.name + ending) for ending in (".png", "_color.png", "_overlay.png"))


def _write(image: np.ndarray, labels: np.ndarray, stem: Path, colors: Colors) -> Path:
    """All three files, or none.

    Raises:
        UserError: they cannot be written.
    """
    index_file, color_file, overlay_file = _outputs(stem)
    with write_errors(stem), contextlib.ExitStack() as files:
        for file, pixels in (
            (index_file, labels),
            (color_file, colorize(labels, colors)),
            (overlay_file, overlay(image, labels, colors)),
        ):
            Image.fromarray(pixels).save(files.enter_context(replaced(file)))
    return index_file
