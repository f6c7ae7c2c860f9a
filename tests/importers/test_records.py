"""Where features lie in TFRecord files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.data.sample import read_bytes
from acfnet_tf.errors import DataError
from acfnet_tf.importers.records import read_records, write_record

PAIRS = [{"image": b"first image", "mask": b"mask"}, {"image": b"", "mask": b"i"}, {"image": bytes(300), "mask": b"\0"}]


def write(path: str, examples: list[dict[str, bytes]]) -> None:
    end = 0
    with tf.io.TFRecordWriter(path) as writer:
        for values in examples:
            end = write_record(writer, path, end, values).end


@given(st.lists(st.fixed_dictionaries({"image": st.binary(max_size=300), "mask": st.binary(max_size=20)}), max_size=4))
@settings(max_examples=25, deadline=None)
def test_pieces_hold_what_was_written(examples: list[dict[str, bytes]]) -> None:
    path = f"ram://{uuid.uuid4()}.tfrecord"
    write(path, examples)
    records = list(read_records(path))
    assert len(records) == len(examples)
    for record, values in zip(records, examples, strict=True):
        for feature, value in values.items():
            assert record.value(feature) == read_bytes(record.piece(feature)) == value


def test_a_file_cut_anywhere_is_noticed_unless_whole_records_remain(tmp_path: Path) -> None:
    file, cut = tmp_path / "whole.tfrecord", tmp_path / "cut.tfrecord"
    write(str(file), PAIRS[:2])
    content = file.read_bytes()
    ends = [0] + [record.end for record in read_records(str(file))]
    assert ends[-1] == len(content)
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        if length in ends:
            assert len(list(read_records(str(cut)))) == ends.index(length)
        else:
            with pytest.raises(DataError, match=r"cut\.tfrecord: damaged or cut off"):
                list(read_records(str(cut)))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    write(str(file), PAIRS)
    content = file.read_bytes()
    for position in range(0, len(content), 7):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DataError, match=r"a\.tfrecord: damaged"):
            list(read_records(str(file)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.tfrecord: cannot be read"):
        list(read_records(str(tmp_path / "no.tfrecord")))


def test_a_missing_feature_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = str(tmp_path / "a.tfrecord")
    write(path, PAIRS[:1])
    (record,) = read_records(path)
    with pytest.raises(DataError, match=r"a\.tfrecord.*'label'\. There are: image, mask\."):
        record.piece("label")


def test_records_of_something_else(tmp_path: Path) -> None:
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"no protocol buffer")
    (record,) = read_records(path)
    with pytest.raises(DataError, match=r"a\.tfrecord.*no tf\.train\.Example"):
        record.piece("image")
