"""Label files of a user's own images: which images there are, what the files are called, and how they are written."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acfnet_tf.data.reading import read_image
from acfnet_tf.errors import DataError
from acfnet_tf.failures import Failures
from acfnet_tf.files import writing
from acfnet_tf.inference.overlap import overlapped
from acfnet_tf.paths import check_writable, find_images
from acfnet_tf.pictures import encoded
from acfnet_tf.visualization.palette import Colors, colorize, overlay


def predict_files(
    predictor: Callable[[np.ndarray], np.ndarray],
    source: str | Path,
    output_dir: str | Path,
    colors: Colors,
    max_pixels: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Labels one image, or every image of a folder and its subfolders, whatever their sizes and formats.

    An image `sub/a.jpg` gives `sub/a.png` (class indices), `sub/a_color.png` and `sub/a_overlay.png`. Where two images
    of the folder would write the same file (`a.jpg` beside `a.png`), all names keep their suffix: `a.jpg.png`, … An
    image that cannot be read, or whose files cannot be written, does not stop the others.

    Args:
        predictor: such as a `Predictor`: (H, W, 3) uint8 → (H, W) class indices.
        output_dir: not the images' own folder, whose images would be overwritten. It may lie inside of that: what is in
            it is no input then.
        max_pixels: larger images are unreadable ones: they could take all memory.

    Returns:
        The index files, in the order of the images' names.

    Raises:
        UserError: there is nothing to do, `output_dir` is the images' own folder or cannot be written; or, when all
            others are done, some images could not be read or their files not be written.
    """
    planned, folder = plan(Path(source), Path(output_dir)), check_writable(Path(output_dir))
    failures, written = Failures(), []

    def read(entry: tuple[Path, Path]) -> np.ndarray:
        return read_image(entry[0], max_pixels=max_pixels)

    def finish(entry: tuple[Path, Path], image: np.ndarray, labels: np.ndarray) -> None:
        written.append(_write(image, labels, folder / entry[1], colors))

    overlapped(planned, read, predictor, finish, title="Predicting", progress=progress, guarded=failures.of_one)
    failures.raise_any(len(planned))
    return written


def plan(source: Path, output_dir: Path | None = None) -> list[tuple[Path, Path]]:
    """The images of a file or folder, and where in `output_dir` the files of each go, without their endings.

    No two images share a file.

    Raises:
        DataError: there are none, or the output would overwrite them.
    """
    root = source if source.is_dir() else source.parent
    names = [file.relative_to(root) for file in find_images(source, output_dir)]
    stems = [name.with_suffix("") for name in names]
    if max(Counter(file for stem in stems for file in label_files(stem)).values()) > 1:
        stems = names
    if output_dir:
        target, inside = output_dir.resolve(), root.resolve()
        lost = {target / file for stem in stems for file in label_files(stem)} & {inside / name for name in names}
        if lost:
            raise DataError(
                f"{min(lost)} would be overwritten by labels: choose another output folder than {output_dir}"
            )
    return [(root / name, stem) for name, stem in zip(names, stems, strict=True)]


def label_files(stem: Path) -> list[Path]:
    """The index, colour and overlay file of an image."""
    return [stem.with_name(stem.name + ending) for ending in (".png", "_color.png", "_overlay.png")]


def _write(image: np.ndarray, labels: np.ndarray, stem: Path, colors: Colors) -> Path:
    """Writes all three files, or none, and returns the first."""
    files = label_files(stem)
    with contextlib.ExitStack() as stack:
        for file, pixels in zip(files, (labels, colorize(labels, colors), overlay(image, labels, colors)), strict=True):
            stack.enter_context(writing(file)).write_bytes(encoded(pixels))
    return files[0]
