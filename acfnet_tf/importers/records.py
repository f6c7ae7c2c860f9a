"""TFRecord files as files of pieces: where in the file each feature of each `tf.train.Example` lies."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tensorflow as tf
from google.protobuf.message import DecodeError

from acfnet_tf.data.sample import Piece
from acfnet_tf.errors import DataError

HEADER, FOOTER = 12, 4
"""How many bytes surround a record: its length (8) and the checksum of that (4); the checksum of its content."""

PARTIAL = ".partial"
"""What is added to the names of files that are being written."""


@dataclass(frozen=True)
class Record:
    """A `tf.train.Example` as it is stored.

    Attributes:
        path: the TFRecord file.
        offset: in it, of the first byte of `content`.
        content: the serialised example.
    """

    path: str
    offset: int
    content: bytes

    @property
    def end(self) -> int:
        """Where in the file the next record begins."""
        return self.offset + len(self.content) + FOOTER

    def value(self, feature: str) -> bytes:
        """What the example holds under that name.

        Raises:
            DataError: it is no example, or has no bytes of that name.
        """
        stored = self._features.get(feature)
        if stored is None or not stored.bytes_list.value:
            present = ", ".join(sorted(self._features)) or "none"
            raise DataError(f"{self.path}: its records have no bytes feature {feature!r}. There are: {present}.")
        return stored.bytes_list.value[0]

    def piece(self, feature: str) -> Piece:
        """Where in the file that is.

        Raises:
            DataError: as `value`.
        """
        value = self.value(feature)
        # A serialised example holds bytes as they are. Should they occur in it earlier, those are as good.
        return Piece(self.path, self.offset + self.content.find(value), len(value), zlib.crc32(value))

    @functools.cached_property
    def _features(self) -> Mapping[str, tf.train.Feature]:
        try:
            return tf.train.Example.FromString(self.content).features.feature
        except DecodeError as error:
            raise DataError(f"{self.path}: its records are no tf.train.Example.") from error


def read_records(path: str) -> Iterator[Record]:
    """Every record of a TFRecord file, in order; their checksums are verified.

    Args:
        path: anything `tf.io.gfile` reads; not compressed.

    Raises:
        DataError: the file is not there, damaged, or cut off inside a record.
    """
    start = 0
    try:
        for content in tf.data.TFRecordDataset(path).as_numpy_iterator():
            record = Record(path, start + HEADER, content)
            start = record.end
            yield record
        # TensorFlow does not mind a rest that is shorter than a header.
        whole = tf.io.gfile.stat(path).length == start
    except tf.errors.DataLossError:
        whole = False
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be read ({error.message}).") from error
    if not whole:
        raise DataError(f"{path}: damaged or cut off after {start} bytes. Copy or prepare this file again.")


def write_record(writer: tf.io.TFRecordWriter, path: str, start: int, values: Mapping[str, bytes]) -> Record:
    """Appends an example.

    Args:
        writer: of a file that will be `path`.
        start: the bytes that are written so far.
        values: name of each feature → what it holds.
    """
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    record = Record(path, start + HEADER, example.SerializeToString(deterministic=True))
    writer.write(record.content)
    return record


def replace_file(path: str, text: str) -> None:
    """Does as `acfnet_tf.files.write_atomically`, for anything that `tf.io.gfile` writes.

    Raises:
        tf.errors.OpError: it cannot be written.
    """
    with tf.io.gfile.GFile(f"{path}{PARTIAL}", "w") as file:
        file.write(text)
    tf.io.gfile.rename(f"{path}{PARTIAL}", path, overwrite=True)
