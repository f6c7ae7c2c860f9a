"""Data sets of TensorFlow Datasets: reads the TFRecord files that TFDS prepares, where they are."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import tensorflow as tf
from tqdm import tqdm

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import IGNORED, ClassSet
from acfnet_tf.data.sample import DataSource, Piece, Sample
from acfnet_tf.errors import DataError, first_line
from acfnet_tf.importers.class_search import find_classes
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.importers.counts import CACHE_FOLDER
from acfnet_tf.importers.records import read_records, replace_file
from acfnet_tf.importers.splits import PARTS
from acfnet_tf.settings import suggest

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

LOST_AND_FOUND = ClassSet(
    names=("free", "obstacle"),
    colors=((128, 64, 128), (0, 0, 142)),
    # What can be driven over (31, 33, 34, 36–39) is ignored, as in the data set's own trainIds.
    values={1: 0} | dict.fromkeys(range(2, 44), 1) | dict.fromkeys((0, 31, 33, 34, *range(36, 40)), IGNORED),
)
PETS = ClassSet(("pet", "background", "border"), default_colors(3), {1: 0, 2: 1, 3: 2})

NAME_FEATURES = ("image_id", "file_name", "filename", "image/filename", "name", "id")
"""Features in which data sets keep the name of an image; the first that is there counts."""

FILE_NAME = re.compile(r"[\w-][\w .-]*(/[\w-][\w .-]*)*")


class Layout(NamedTuple):
    """Which features of a data set are image and mask, and the classes of the masks."""

    image: str
    mask: str
    classes: ClassSet


LAYOUTS = {
    "cityscapes": Layout("image_left", "segmentation_label", CITYSCAPES),
    "lost_and_found": Layout("image_left", "segmentation_label", LOST_AND_FOUND),
    "oxford_iiit_pet": Layout("image", "segmentation_mask", PETS),
}
_ADE20K = "unpack ADEChallengeData2016.zip and set data.format=ade20k"
INSTEAD = {
    "ade20k": _ADE20K,
    "scene_parse150": _ADE20K,
    "voc": "unpack VOCtrainval_11-May-2012.tar and set data.format=voc",
}
"""What to do for data sets of which TFDS has no masks of classes. scene_parse150 has instances of 100 kinds of objects,
not ADE20K's 150 classes."""


def open_tfds(config: DataConfig, data_dir: str | None, classes: ClassSet | None) -> DataSource:
    """Opens the TFDS data set `config.name`, and prepares it if TFDS can. See `acfnet_tf.importers.open.open_data`.

    Args:
        data_dir: TFDS's folder of data sets; none for its default, ~/tensorflow_datasets.

    Raises:
        DataError: no such data set, no masks in it, or it cannot be prepared.
    """
    builder = _find_builder(config.name, data_dir)
    image, mask = _find_features(builder, config)
    _prepare(builder)
    folder = str(builder.data_dir)
    cache_dir = None if "://" in folder else Path(folder)
    list_samples = functools.partial(_list_samples, builder, image, mask)
    splits, val = builder.info.splits, _val_split(builder)
    notes = [] if val in ("val", None) else [f"Split val is what TFDS calls {val}."]
    if classes is None:
        masks = (sample.label for split in (config.train_split, config.val_split) for sample in list_samples(split))
        classes, note = find_classes(config, Path(folder), masks, _classes_of(builder, mask))
        notes += [note] if note else []
    return DataSource(
        f"TFDS {builder.info.full_name} in {folder}",
        classes,
        list_samples,
        splits=tuple("val" if split == val else str(split) for split in splits),
        note=" ".join(notes),
        cache_dir=cache_dir,
    )


def _find_builder(name: str | None, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder of a data set that is prepared, or whose code TFDS has."""
    import tensorflow_datasets as tfds  # This import takes a second, and is noisy.

    if not name:
        raise DataError("data.format=tfds wants data.name=NAME, such as cityscapes or oxford_iiit_pet.")
    base = name.split("/")[0]
    if base in INSTEAD:
        raise DataError(f"data.name={name}: TFDS has no masks of its classes. Instead, {INSTEAD[base]}.")
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = suggest(base, sorted({*tfds.list_builders(with_community_datasets=False)}))
        raise DataError(f"data.name={name}: no such data set in TFDS, and none is prepared. {known}") from error
    except Exception as error:  # TFDS has no common error for wrong configurations and versions.
        configs = ", ".join(tfds.builder_cls(base).builder_configs) or "none"
        raise DataError(f"data.name={name}: cannot be opened. Configurations of {base} are: {configs}.") from error


def _find_features(builder: tfds.core.DatasetBuilder, config: DataConfig) -> tuple[str, str]:
    """Names of the features with images and masks: the user's, known ones, or the only ones that fit."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = {name: item.shape[-1] for name, item in features.items() if isinstance(item, tfds.features.Image)}
    layout = LAYOUTS.get(builder.name)
    names = []
    for setting, channels, chosen, known in (
        ("image_feature", 3, config.image_feature, layout and layout.image),
        ("mask_feature", 1, config.mask_feature, layout and layout.mask),
    ):
        fitting = [name for name, count in images.items() if count == channels]
        name = chosen or known or (fitting[0] if len(fitting) == 1 else None)
        if name not in images:
            present = ", ".join(f"{name} ({count} channels)" for name, count in images.items()) or "none"
            wanted = f"there is no image feature {name!r}" if name else f"which feature is it? Set data.{setting}=NAME"
            lack = "" if chosen or fitting else " A set without masks cannot be learned from."
            raise DataError(f"data.name={config.name}, {setting}: {wanted}. Image features: {present}.{lack}")
        names.append(name)
    return names[0], names[1]


def _prepare(builder: tfds.core.DatasetBuilder) -> None:
    """Downloads and prepares a data set that is not prepared yet."""
    name, root = builder.info.full_name, builder.data_dir_root
    if not builder.info.splits:
        try:
            builder.download_and_prepare()
        except Exception as error:  # Network, disk and archives each raise their own.
            if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
                steps = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
                reason = f"needs files in {root}/downloads/manual, as they were downloaded: {steps}"
            else:
                command = f"tfds build {name.rpartition('/')[0]} --data_dir=DIR"
                reason = f"could not be downloaded and prepared. With a network, {command}; copy DIR to {root}"
            raise DataError(f"TFDS {name}: {reason} ({first_line(error).rstrip(':.')})") from error
    if not builder.info.splits:
        raise DataError(f"{builder.data_dir}: not prepared completely. Delete this folder.")
    file_format = builder.info.file_format.value
    if file_format != "tfrecord":
        raise DataError(
            f"{builder.data_dir}: holds {file_format} files, tfrecord is read. Prepare it again in another folder:"
            f" tfds build {builder.name} --file_format=tfrecord --data_dir=DIR"
        )


def _classes_of(builder: tfds.core.DatasetBuilder, mask: str) -> ClassSet | None:
    """The classes as this module or the data set itself names them."""
    if builder.name in LAYOUTS and LAYOUTS[builder.name].mask == mask:
        return LAYOUTS[builder.name].classes
    names = tuple(getattr(builder.info.features[mask], "names", None) or ())  # A LabeledImage has them.
    return ClassSet(names, default_colors(len(names)), {i: i for i in range(len(names))}) if names else None


def _val_split(builder: tfds.core.DatasetBuilder) -> str | None:
    """What TFDS calls the split "val" of this data set."""
    return next((name for name in ("val", "validation", "test") if name in builder.info.splits), None)


def _list_samples(builder: tfds.core.DatasetBuilder, image: str, mask: str, split: str) -> list[Sample]:
    """The samples of a split, or of a part such as "train[:80%]", in the order of TFDS's files."""
    splits, spec = builder.info.splits, split
    if spec not in splits:
        spec = "+".join(PARTS.get(spec, (spec,)))
    if "val" not in splits:
        spec = re.sub(r"\bval\b", _val_split(builder) or "val", spec)
    try:
        parts = splits[spec].file_instructions
    except (KeyError, ValueError, AssertionError, NotImplementedError) as error:  # "all[:9%]" raises the last.
        reason = first_line(error).rstrip(":.")
        raise DataError(
            f"{builder.data_dir}: no split {split!r} ({reason}). There are: {', '.join(splits)};"
            " data.train_split and data.val_split may be parts of one, such as train[:90%] and train[90%:]."
        ) from error
    index = functools.partial(_index_file, builder, image, mask)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(index, [part.filename for part in parts], [part.examples_in_shard for part in parts])
        indexed = list(tqdm(rows, f"Indexing {spec}", len(parts), unit="file", leave=False, disable=None))
    samples, names = [], []
    for part, rows in zip(parts, indexed, strict=True):
        stem = os.path.basename(part.filename).replace(".tfrecord", "")
        for number, (name, *places) in list(enumerate(rows))[part.skip : part.skip + part.take]:
            pieces = Piece(part.filename, *places[:3]), Piece(part.filename, *places[3:])
            samples.append(Sample(f"{stem}_{number:05d}", *pieces))
            names.append(re.sub(r"\.(jpe?g|png)$", "", name, flags=re.IGNORECASE))
    if not samples:
        raise DataError(f"{builder.data_dir}: nothing in split {split!r}.")
    if len({*names}) == len(names) and all(map(FILE_NAME.fullmatch, names)):
        return [sample._replace(name=name) for sample, name in zip(samples, names, strict=True)]
    return samples


def _index_file(
    builder: tfds.core.DatasetBuilder, image: str, mask: str, path: str, num_records: int
) -> list[list[str | int]]:
    """Of each record: its name, then offset, length and CRC of its image and of its mask. Kept beside the data."""
    folder = os.path.join(str(builder.data_dir), CACHE_FOLDER)
    cache = os.path.join(folder, f"{os.path.basename(path)}.{quote(f'{image},{mask}', safe=',')}.json")
    try:
        status = tf.io.gfile.stat(path)
    except tf.errors.OpError as error:
        reason = error.message or "no such file"
        raise DataError(f"{path}: cannot be read ({reason}). Prepare the set again.") from error
    stamp = [status.length, status.mtime_nsec]
    with contextlib.suppress(tf.errors.OpError, ValueError, KeyError), tf.io.gfile.GFile(cache) as file:
        known = json.loads(file.read())
        if known["fingerprint"] == stamp:
            return known["records"]
    title = next((name for name in NAME_FEATURES if name in builder.info.features), None)
    records = []
    for record in read_records(path):
        name = record.value(title).decode(errors="replace") if title else ""
        records.append([name, *record.piece(image)[1:], *record.piece(mask)[1:]])
    if len(records) != num_records:
        raise DataError(f"{path}: cut off, {len(records)} of {num_records} records are there. Prepare the set again.")
    with contextlib.suppress(tf.errors.OpError):  # A read-only folder is indexed each time.
        tf.io.gfile.makedirs(folder)
        replace_file(cache, json.dumps({"fingerprint": stamp, "records": records}))
    return records
