"""A data set in a few large files, for object stores and network drives, where thousands of small ones are slow.

DIR/SPLIT-00000-of-00012.tfrecord, … hold `tf.train.Example`s of name, image and mask, as their files were;
DIR/manifest.json holds the classes and where each image and mask lies, so that any sample is read without the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import tensorflow as tf
from tqdm import tqdm

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource, Piece, Sample, read_bytes
from acfnet_tf.errors import DataError
from acfnet_tf.fingerprints import fingerprint
from acfnet_tf.importers.class_search import find_classes
from acfnet_tf.importers.records import PARTIAL, replace_file, write_record
from acfnet_tf.importers.splits import PARTS
from acfnet_tf.paths import check_utf_8

FORMAT = "acfnet_tf shards 1"
MANIFEST = "manifest.json"
ENTRY = ".json"
"""What is added to a shard's name: this file holds its part of the manifest until all shards are written."""


class _Shard(NamedTuple):
    """A shard to write: the name of its file, what it holds, and how many bytes the samples' files have."""

    file: str
    samples: tuple[Sample, ...]
    size: int
    source: str
    """Checksum of the samples' names and of the fingerprints of their files."""


def write_shards(
    source: DataSource, splits: Sequence[str], output: str, *, shard_megabytes: float = 128, progress: bool = True
) -> str:
    """Writes splits of a data set as shards. What an interrupted call has finished is not written again.

    Args:
        output: folder; anything `tf.io.gfile` writes, such as "gs://bucket/data".
        shard_megabytes: a shard is full before it would be larger; how many there are follows from the data alone.
        progress: show a bar, in a terminal.

    Returns:
        Path of the manifest.

    Raises:
        DataError: a file cannot be read, the folder cannot be written, or holds something else.
    """
    check_utf_8(output)
    plan = {split: _plan(source.list_samples(split), split, shard_megabytes * 1_000_000) for split in splits}
    shards = [shard for planned in plan.values() for shard in planned]
    manifest = os.path.join(output, MANIFEST)
    try:
        tf.io.gfile.makedirs(output)
        present = {name.rstrip("/") for name in tf.io.gfile.listdir(output)}
        old = _read_manifest(output) if MANIFEST in present else {"splits": {}}
        entries = _finished(output, old, plan, present, source.classes)
        done = sum(shard.size for shard in shards if shard.file in entries)
        options = {"unit": "B", "unit_scale": True, "disable": not progress or None}
        with tqdm(desc="Writing shards", total=sum(shard.size for shard in shards), initial=done, **options) as bar:
            for shard in shards:
                if shard.file not in entries:
                    entries[shard.file] = _write_shard(output, shard)
                    bar.update(shard.size)
        written = {split: [entries[shard.file] for shard in planned] for split, planned in plan.items()}
        classes = dataclasses.asdict(source.classes) | {"values": [*source.classes.values.items()]}
        content = {"format": FORMAT, "data": source.name, "classes": classes}
        replace_file(manifest, json.dumps(content | {"splits": old["splits"] | written}))
        for shard in shards:
            with contextlib.suppress(tf.errors.NotFoundError):
                tf.io.gfile.remove(os.path.join(output, shard.file + ENTRY))
    except tf.errors.OpError as error:
        raise DataError(f"{output}: cannot be written ({error.message}).") from error
    return manifest


def open_shards(config: DataConfig, data_dir: str, classes: ClassSet | None) -> DataSource:
    """Opens what `write_shards` has written. See `acfnet_tf.importers.open.open_data`.

    Raises:
        DataError: no manifest there, or not a whole one.
    """
    check_utf_8(data_dir)
    root, manifest = data_dir, _read_manifest(data_dir)
    list_samples = functools.partial(_list_samples, root, manifest["splits"])
    if classes is None and config.classes:
        masks = (sample.label for split in [config.train_split] for sample in list_samples(split))
        classes, _ = find_classes(config, Path(root), masks)
    return DataSource(
        f"shards {root}",
        classes or manifest["classes"],
        list_samples,
        splits=tuple(manifest["splits"]),
        note=f"Made of: {manifest['data']}.",
        cache_dir=None if "://" in root else Path(root),
    )


def _list_samples(root: str, splits: dict[str, list[dict[str, Any]]], split: str) -> list[Sample]:
    """The samples of a split, whose shards are all there and of the right size."""
    if split not in splits and {*PARTS.get(split, (split,))} <= splits.keys():
        return [sample for part in PARTS[split] for sample in _list_samples(root, splits, part)]
    if split not in splits:
        raise DataError(f"{root}: no split {split!r}. There are: {', '.join(splits)}.")
    samples = []
    for entry in splits[split]:
        path = os.path.join(root, entry["file"])
        size = _size(path)
        if size != entry["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes, it must have {entry['bytes']}"
            raise DataError(f"{path}: {state}. Copy or prepare this file again.")
        for name, *places in entry["samples"]:
            image, mask = Piece(path, *places[:3]), Piece(path, *places[3:]) if places[3:] else None
            samples.append(Sample(name, image, mask))
    return samples


def _plan(samples: Sequence[Sample], split: str, limit: float) -> list[_Shard]:
    """Deals the samples, in order, to shards of at most `limit` bytes, or of a single larger sample."""
    groups, filled, shards = [], 0, []
    for sample in samples:
        sources = [source for source in (sample.image, sample.label) if source is not None]
        prints = "|".join([sample.name, *map(fingerprint, sources)])
        size = sum(source.length if isinstance(source, Piece) else os.path.getsize(source) for source in sources)
        if not groups or filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append((sample, size, prints))
        filled += size
    for index, group in enumerate(groups):
        members, sizes, prints = zip(*group, strict=True)
        file = f"{quote(split, safe='')}-{index:05d}-of-{len(groups):05d}.tfrecord"
        shards.append(_Shard(file, members, sum(sizes), hashlib.sha256(os.fsencode("\n".join(prints))).hexdigest()))
    return shards


def _finished(
    output: str, old: dict[str, Any], plan: dict[str, list[_Shard]], present: set[str], classes: ClassSet
) -> dict[str, dict[str, Any]]:
    """{file: entry} of the shards that need not be written.

    Raises:
        DataError: the folder holds what is not of this data. Nothing in it may be lost.
    """
    entries = {entry["file"]: entry for split in old["splits"].values() for entry in split}
    shards = [shard for planned in plan.values() for shard in planned]
    for shard in shards:
        if shard.file + ENTRY in present:
            with tf.io.gfile.GFile(os.path.join(output, shard.file + ENTRY)) as file:
                entries[shard.file] = json.loads(file.read())
    known = {MANIFEST, MANIFEST + PARTIAL, *entries}
    known |= {shard.file + ending for shard in shards for ending in (ENTRY, ENTRY + PARTIAL, PARTIAL)}
    # Hidden files are the desktop's, or counts that were kept beside shards in use.
    wrong = sorted(name for name in present - known if not name.startswith("."))
    wrong += [shard.file for shard in shards if shard.file in entries and entries[shard.file]["source"] != shard.source]
    for split, planned in plan.items():
        if old["splits"].get(split) and [entry["file"] for entry in old["splits"][split]] != [s.file for s in planned]:
            wrong.append(MANIFEST)
    if old.get("classes", classes) != classes:
        wrong.append(MANIFEST)
    if wrong:
        raise DataError(
            f"{output}: {wrong[0]} there is not of this data, or the data have changed since. Give another folder"
            " (--output=DIR), or delete this one."
        )
    return {file: entry for file, entry in entries.items() if _size(os.path.join(output, file)) == entry["bytes"]}


def _write_shard(output: str, shard: _Shard) -> dict[str, Any]:
    """Writes one shard and returns its entry of the manifest."""
    path = os.path.join(output, shard.file)
    rows, end = [], 0
    with tf.io.TFRecordWriter(path + PARTIAL) as writer:
        for sample in shard.samples:
            values = {"name": os.fsencode(sample.name), "image": read_bytes(sample.image)}
            if sample.label is not None:
                values["mask"] = read_bytes(sample.label)
            record = write_record(writer, path, end, values)
            end = record.end
            rows.append([sample.name, *(place for key in list(values)[1:] for place in record.piece(key)[1:])])
    entry = {"file": shard.file, "bytes": end, "source": shard.source, "samples": rows}
    # The entry comes first: a shard without one is somebody else's.
    replace_file(path + ENTRY, json.dumps(entry))
    tf.io.gfile.rename(path + PARTIAL, path, overwrite=True)
    return entry


def _read_manifest(root: str) -> dict[str, Any]:
    """The manifest, with the classes as a `ClassSet`."""
    path = os.path.join(root, MANIFEST)
    try:
        with tf.io.gfile.GFile(path) as file:
            content = json.loads(file.read())
        if content["format"] != FORMAT:
            raise DataError(f"{path}: is of the form {content['format']!r}, this version reads {FORMAT!r}.")
        names, colors, values, coding = (content["classes"][key] for key in ("names", "colors", "values", "coding"))
        return content | {"classes": ClassSet(tuple(names), tuple(map(tuple, colors)), dict(values), coding)}
    except tf.errors.NotFoundError as error:
        raise DataError(
            f"{path}: no such file. --mode=prepare_data --output={shlex.quote(root)} writes it, last of"
            " all; an interrupted preparation continues when it is run again."
        ) from error
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be read ({error.message}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged, or not the manifest of shards. Copy it again.") from error


def _size(path: str) -> int | None:
    """The size of a file in bytes; None where there is no such file."""
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError:
        return None
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be read ({error.message}).") from error
