"""Paths of users: which files of a folder are images, how names are spelt, and where results can be written."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import unicodedata
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from acfnet_tf.errors import DataError, UserError
from acfnet_tf.files import write_errors

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Endings of the names of images, in lower case."""

_OF_SYSTEMS = (
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found",
    "system volume information",
)  # fmt: skip
"""What systems keep in folders of images, such as previews and what was deleted; in lower case."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_picture(file: Path) -> bool:
    """Whether the name is that of an image, and not of a hidden file."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file.name)


def list_images(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, sorted.

    Hidden files and folders are left out (the folder itself may be hidden). Links are followed, but each real folder is
    listed once, under its own path where that is below `folder`; a link to a folder above it is left out. A folder that
    is not there holds nothing.

    Raises:
        DataError: a folder cannot be read.
    """
    images, seen = [], {str(above) for above in Path(os.path.realpath(folder)).parents}
    waiting = deque([folder] if folder.is_dir() else [])
    while waiting:
        here = waiting.popleft()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(here):
            path, is_link = here / entry.name, entry.is_symlink()
            if is_hidden(entry.name):
                continue
            if os.path.isdir(path) if is_link else entry.is_dir():
                # Links wait until all real folders are done.
                waiting.append(path) if is_link else waiting.appendleft(path)
            elif is_picture(path) and (is_link or entry.is_file()):
                images.append(path)
    return sorted(images)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, without hidden ones; none in one that is not there.

    Raises:
        DataError: it cannot be read.
    """
    return [folder / entry.name for entry in _entries(folder) if os.path.isdir(entry) and not is_hidden(entry.name)]


def find_images(input: Path, output_dir: Path | None = None) -> list[Path]:
    """An image, or all in a folder and its subfolders; see `list_images`.

    Args:
        output_dir: where results will go: what is in it is no input, unless all of `input` is.

    Raises:
        DataError: there are none, or the output would overwrite them.
    """
    if not input.exists():
        raise DataError(f"no such file or folder: {input}")
    root, target = (input if input.is_dir() else input.parent).resolve(), output_dir and output_dir.resolve()
    if target == root:
        raise DataError(f"the output folder {output_dir} is the images' own folder: they could be overwritten")
    if input.is_file():
        return [input]
    images = list_images(input)
    if target and not root.is_relative_to(target):
        images = [file for file in images if not file.resolve().is_relative_to(target)]
    if not images:
        raise DataError(f"no images in {input}; known are {', '.join(IMAGE_SUFFIXES)}")
    return images


def unified(name: str) -> str:
    """One spelling for names that look alike: "é" may be one letter (NFC) or "e" and an accent (NFD, as of macOS)."""
    return unicodedata.normalize("NFC", name)


def spelt(path: Path) -> Path:
    """The path as it is spelt on the disk, where that is an equal one by `unified`; else as it is given."""
    if str(path).isascii() or path.exists() or path == path.parent:
        return path
    folder = spelt(path.parent)
    if not folder.is_dir():
        return path
    names = _names(folder, folder.stat().st_mtime_ns)
    return folder / names.get(unified(path.name), path.name)


@functools.lru_cache(16)  # A table names many files of few folders.
def _names(folder: Path, time: int) -> dict[str, str]:
    """{unified name: name} of what is in a folder, at the time of its last change."""
    return {unified(entry.name): entry.name for entry in _entries(folder)}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}).") from error


def check_utf_8(path: str | Path) -> None:
    """For what hands paths to libraries that take no others.

    Raises:
        UserError: the path holds bytes that are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: its name is not UTF-8, as TensorFlow wants it here; choose another folder") from error


def check_writable(folder: Path) -> Path:
    """Sees that files can be written into a folder, which need not be there yet: before the work, not after it.

    Returns:
        The folder.

    Raises:
        UserError: they cannot.
    """
    with write_errors(f"into {folder}"):
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            error.filename = str(there)  # and not that of the file
            raise
    return folder


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """An empty hidden folder on the disk of `target`: what is finished in it is moved out, the rest is gone afterwards.

    The folders above `target` are made if needed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:40]}.", dir=target.parent) as folder:
        whole = Path(folder, "whole")  # `TemporaryDirectory` makes folders that only their owner can read
        whole.mkdir()
        yield whole
