"""Labels for a user's own images: index, colour and overlay files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from acfnet_tf.config import UserError
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.readers.pairs import IMAGE_SUFFIXES
from acfnet_tf.data.reading import read_image
from acfnet_tf.inference.overlap import read_ahead
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
    unreadable image does not stop the others. While the network labels one image, the next is read and the last one's
    files are written.

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
        UserError: nothing to do, `output_dir` is the input's own folder, or (after all others are written) some images
            could not be read; they are listed.
    """
    input, output_dir = Path(input), Path(output_dir)
    images = find_images(input, output_dir)
    root = input if input.is_dir() else input.parent
    stems = output_stems([image.relative_to(root) for image in images])

    def read(file: Path) -> np.ndarray | DataError:
        try:
            return read_image(str(file), max_pixels=max_pixels)
        except DataError as error:
            return error

    written: list[Future[Path]] = []
    unreadable: list[DataError] = []
    contents = ProgressBar(read_ahead(read, images), "Predicting", len(images), unit="image", disable=not progress)
    with ThreadPoolExecutor(max_workers=1) as writer:
        for image, stem in zip(contents, stems, strict=True):
            if isinstance(image, DataError):
                unreadable.append(image)
                continue
            labels = predictor(image)
            if written:
                written[-1].result()  # no more than one image waits to be written
            written.append(writer.submit(_write, image, labels, output_dir / stem, colors))
    files = [file.result() for file in written]
    if unreadable:
        lines = "\n  ".join(map(str, unreadable))
        raise UserError(f"{len(unreadable)} of {len(images)} images could not be read; the others are done:\n  {lines}")
    return files


def find_images(input: Path, output_dir: Path | None = None) -> list[Path]:
    """An image, or all in a folder and its subfolders, sorted by name.

    Args:
        output_dir: where results will go: what is in it is no input.

    Raises:
        UserError: there are none, or the output would overwrite them.
    """
    if not input.exists():
        raise UserError(f"no such file or folder: {input}")
    target = output_dir and output_dir.resolve()
    if target == (input if input.is_dir() else input.parent).resolve():
        raise UserError(f"the output folder {output_dir} is the images' own folder: they could be overwritten")
    if input.is_file():
        return [input]
    images = [
        file
        for file in sorted(input.rglob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and target not in file.resolve().parents
    ]
    if not images:
        raise UserError(f"no images in {input}; known are {', '.join(IMAGE_SUFFIXES)}")
    return images


def output_stems(images: Sequence[Path]) -> list[Path]:
    """Where each image's files go, without their endings. No two images share a file."""
    stems = [image.with_suffix("") for image in images]
    files = Counter(file for stem in stems for file in _outputs(stem))
    return list(images) if max(files.values()) > 1 else stems


def _outputs(stem: Path) -> tuple[Path, Path, Path]:
    """The index, colour and overlay file."""
    return tuple(stem.with_name(stem.name + ending) for ending in (".png", "_color.png", "_overlay.png"))


def _write(image: np.ndarray, labels: np.ndarray, stem: Path, colors: Colors) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    index_file, color_file, overlay_file = _outputs(stem)
    Image.fromarray(labels).save(index_file)
    Image.fromarray(colorize(labels, colors)).save(color_file)
    Image.fromarray(overlay(image, labels, colors)).save(overlay_file)
    return index_file
