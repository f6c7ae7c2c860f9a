"""What a data set is made of: samples, whose images and masks are files or pieces of files."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import DataError, UserError
from acfnet_tf.files import patiently


class Piece(NamedTuple):
    """An encoded image that lies inside a larger file, such as a shard of a thousand.

    Attributes:
        path: the file; anything `tf.io.gfile` reads, such as "gs://bucket/train-00000-of-00016.tfrecord".
        offset: of the first byte.
        length: in bytes.
        crc: CRC-32 (zlib) of these bytes.
    """

    path: str
    offset: int
    length: int
    crc: int

    def __str__(self) -> str:
        return f"{self.path} (bytes {self.offset}–{self.offset + self.length - 1})"


class Sample(NamedTuple):
    """One image with its mask.

    Attributes:
        name: unique in its split, and good for a file name: "frankfurt_000000_000294" or, in subfolders, "kitchen/17".
        image: path of the image, or the piece of a file that holds it.
        label: the same of the mask; None where there is none.
    """

    name: str
    image: str | Piece
    label: str | Piece | None


@dataclass(frozen=True)
class DataSource:
    """An opened data set.

    Attributes:
        name: what it is and where, such as "Cityscapes layout /data/cityscapes"; without a full stop.
        classes: its classes.
        list_samples: the samples of a split, in an order that depends on nothing but the data; raises `DataError` where
            there is no such split, or nothing in it.
        splits: the names of its splits.
        note: what else the user should know, in one line.
        cache_dir: where what was counted in it is kept; None where nothing can be written.
    """

    name: str
    classes: ClassSet
    list_samples: Callable[[str], list[Sample]]
    splits: tuple[str, ...]
    note: str = ""
    cache_dir: Path | None = None


def read_bytes(source: str | Path | Piece) -> bytes:
    """The content of a file, or of a piece of one.

    Raises:
        DataError: it cannot be read, is cut off, or (a piece) is not what it was when its checksum was made.
    """
    if not isinstance(source, Piece):
        try:
            return patiently(Path(source), Path(source).read_bytes)
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror or error}).") from error
        except UserError as error:  # It was tried several times.
            raise DataError(str(error)) from error
    try:
        with tf.io.gfile.GFile(source.path, "rb") as file:
            file.seek(source.offset)
            content = file.read(source.length)
    except tf.errors.OpError as error:
        raise DataError(f"{source}: cannot be read ({error.message}).") from error
    if zlib.crc32(content) != source.crc:
        raise DataError(f"{source}: damaged, its checksum does not match. Copy it again, or delete and prepare it.")
    return content


def read_text(path: str | Path) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: it cannot be read, or is in another encoding.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # Where UTF-16 goes as UTF-8, every other letter is this one.
        utf_16 = " (UTF-16, it seems)" if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content else ""
        raise DataError(f"{path}: not a text file in UTF-8{utf_16}. Save it in UTF-8.")
    return text
