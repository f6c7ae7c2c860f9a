"""Data in shards: everything arrives, nothing is written twice, nothing is lost, and damage is named."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import DataSource, Sample, read_bytes
from acfnet_tf.errors import DataError
from acfnet_tf.importers import shards
from acfnet_tf.importers.shards import open_shards, write_shards

CONFIG = DataConfig(format="tfrecord")
SPLITS = ("train", "val", "test")
SHARD_MB = 0.012
"""Holds three samples of `folder`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of 3,000 to 4,000 bytes that nothing here decodes: images and masks of train and val, images of test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 2), ("test", 1)):
        for index in range(count):
            for kind in ("image", "mask")[: 1 if split == "test" else 2]:
                path = tmp_path / "source" / split / f"{kind}_{index}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(rng.bytes(int(rng.integers(1500, 2000))))
    return tmp_path / "source"


def open_folder(folder: Path, classes: ClassSet = CITYSCAPES) -> DataSource:
    def list_samples(split: str) -> list[Sample]:
        images = sorted((folder / split).glob("image_*"))
        masks = [image.with_name(image.name.replace("image", "mask")) for image in images]
        return [
            Sample(f"{split} – {image.name}", str(image), str(mask) if mask.exists() else None)
            for image, mask in zip(images, masks, strict=True)
        ]

    return DataSource("a test", classes, list_samples, SPLITS)


@pytest.fixture
def written(folder: Path, tmp_path: Path) -> Path:
    output = tmp_path / "shards"
    write_shards(open_folder(folder), SPLITS, str(output), shard_megabytes=SHARD_MB)
    return output


def assert_same(root: str, source: DataSource) -> None:
    opened = open_shards(CONFIG, root, None)
    assert opened.classes == source.classes and set(opened.splits) == set(SPLITS)
    for split in SPLITS:
        copies, samples = opened.list_samples(split), source.list_samples(split)
        assert [copy.name for copy in copies] == [sample.name for sample in samples]
        for copy, sample in zip(copies, samples, strict=True):
            assert read_bytes(copy.image) == read_bytes(sample.image)
            assert (copy.label is None) == (sample.label is None)
            assert sample.label is None or read_bytes(copy.label) == read_bytes(sample.label)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_names_order_bytes_and_classes_arrive(folder: Path, written: Path) -> None:
    assert_same(str(written), open_folder(folder))
    assert sorted(path.name for path in written.iterdir()) == [
        "manifest.json",
        "test-00000-of-00001.tfrecord",
        *(f"train-0000{index}-of-00003.tfrecord" for index in range(3)),
        "val-00000-of-00001.tfrecord",
    ]
    assert max(path.stat().st_size for path in written.glob("*.tfrecord")) < 13_000


def test_an_object_store(folder: Path) -> None:
    root = f"ram://{uuid.uuid4()}/data"
    source = open_folder(folder)
    assert write_shards(source, SPLITS, root, shard_megabytes=SHARD_MB) == f"{root}/manifest.json"
    assert_same(root, source)
    assert open_shards(CONFIG, root, None).cache_dir is None
    tf.io.gfile.remove(f"{root}/val-00000-of-00001.tfrecord")
    with pytest.raises(DataError, match=r"ram://.*/val-00000-of-00001\.tfrecord: is missing"):
        open_shards(CONFIG, root, None).list_samples("val")


def test_other_programs_can_read_the_shards(folder: Path, written: Path) -> None:
    features = {key: tf.io.FixedLenFeature((), tf.string) for key in ("name", "image", "mask")}
    dataset = tf.data.TFRecordDataset([str(path) for path in sorted(written.glob("train-*"))])
    examples = list(dataset.map(lambda record: tf.io.parse_single_example(record, features)).as_numpy_iterator())
    samples = open_folder(folder).list_samples("train")
    assert [example["name"].decode() for example in examples] == [sample.name for sample in samples]
    assert [example["mask"] for example in examples] == [read_bytes(sample.label) for sample in samples]


def test_images_of_shards_are_images(cityscapes_root: Path, tmp_path: Path) -> None:
    from acfnet_tf.importers.cityscapes import list_samples

    source = DataSource("tree", CITYSCAPES, lambda split: list_samples(cityscapes_root, split), ("train",))
    write_shards(source, ["train"], str(tmp_path / "shards"))
    opened = open_shards(CONFIG, str(tmp_path / "shards"), None)
    for copy, sample in zip(opened.list_samples("train"), source.list_samples("train"), strict=True):
        for got, wanted in zip(load_sample(copy, CITYSCAPES), load_sample(sample, CITYSCAPES), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_shards_of_shards(folder: Path, written: Path, tmp_path: Path) -> None:
    write_shards(open_shards(CONFIG, str(written), None), SPLITS, str(tmp_path / "again"))
    assert_same(str(tmp_path / "again"), open_folder(folder))


def test_color_classes_arrive(folder: Path, tmp_path: Path) -> None:
    classes = ClassSet(("a", "b"), ((1, 2, 3), (4, 5, 6)), {0x010203: 0, 0x040506: 1, 0: -1}, "color")
    write_shards(open_folder(folder, classes), ["val"], str(tmp_path / "shards"))
    assert open_shards(CONFIG, str(tmp_path / "shards"), None).classes == classes


def test_classes_of_the_user_and_of_a_model_win(written: Path, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("low\nhigh\n")
    config = DataConfig(format="tfrecord", classes=str(tmp_path / "two.txt"))
    assert open_shards(config, str(written), None).classes.names == ("low", "high")
    assert len(open_shards(DataConfig(format="tfrecord", classes="voc"), str(written), None).classes) == 21
    assert open_shards(config, str(written), CITYSCAPES).classes is CITYSCAPES


def test_trainval_is_both(written: Path) -> None:
    source = open_shards(CONFIG, str(written), None)
    assert source.list_samples("trainval") == source.list_samples("train") + source.list_samples("val")
    with pytest.raises(DataError, match=r"no split 'valid'\. There are: train, val, test\."):
        source.list_samples("valid")


def test_an_interrupted_preparation_continues(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output, reads = open_folder(folder), tmp_path / "shards", []

    def read_and_fail(path: str, *, after: int = 5) -> bytes:
        if len(reads) == 2 * after:
            raise KeyboardInterrupt
        reads.append(path)
        return Path(path).read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(shards, "read_bytes", read_and_fail)
        with pytest.raises(KeyboardInterrupt):
            write_shards(source, SPLITS, str(output), shard_megabytes=SHARD_MB)
    assert not (output / "manifest.json").exists()
    with pytest.raises(DataError, match=r"manifest\.json: no such file.*continues when it is run again"):
        open_shards(CONFIG, str(output), None)
    finished = {name: content for name, content in state(output).items() if name.endswith(".tfrecord")}
    assert list(finished) == ["train-00000-of-00003.tfrecord"]

    write_shards(source, SPLITS, str(output), shard_megabytes=SHARD_MB)
    assert finished.items() <= state(output).items()
    assert_same(str(output), source)
    assert {path.suffix for path in output.iterdir()} == {".tfrecord", ".json"} and len(
        list(output.glob("*.json"))
    ) == 1


def test_a_finished_folder_is_left_alone(folder: Path, written: Path) -> None:
    (written / ".acfnet_tf").mkdir()
    before = _shards(written)
    write_shards(open_folder(folder), SPLITS, str(written), shard_megabytes=SHARD_MB)
    assert _shards(written) == before


def test_lost_shards_are_written_again(folder: Path, written: Path) -> None:
    (written / "train-00001-of-00003.tfrecord").unlink()
    _cut(written / "train-00002-of-00003.tfrecord")
    first = _shards(written)["train-00000-of-00003.tfrecord"]
    write_shards(open_folder(folder), SPLITS, str(written), shard_megabytes=SHARD_MB)
    assert_same(str(written), open_folder(folder))
    assert _shards(written)["train-00000-of-00003.tfrecord"] == first


def test_a_split_can_be_added(folder: Path, tmp_path: Path) -> None:
    for split in SPLITS:
        write_shards(open_folder(folder), [split], str(tmp_path / "shards"), shard_megabytes=SHARD_MB)
    assert_same(str(tmp_path / "shards"), open_folder(folder))


def _add_image(folder: Path) -> None:
    (folder / "train" / "image_90").write_bytes(bytes(9_000))


def _change_mask(folder: Path) -> None:
    content = (folder / "val" / "mask_1").read_bytes()
    (folder / "val" / "mask_1").write_bytes(content[::-1])


def _remove_image(folder: Path) -> None:
    (folder / "train" / "image_3").unlink()


@pytest.mark.parametrize("change", [_add_image, _change_mask, _remove_image])
@pytest.mark.parametrize("interrupted", [False, True])
def test_changed_data_are_not_mixed_with_old(
    folder: Path, written: Path, change: Callable[[Path], None], interrupted: bool
) -> None:
    if interrupted:  # as before the manifest was written and the entries were removed
        for split in json.loads((written / "manifest.json").read_text())["splits"].values():
            for entry in split:
                (written / f"{entry['file']}.json").write_text(json.dumps(entry))
        (written / "manifest.json").unlink()
    change(folder)
    before = state(written)
    with pytest.raises(DataError, match=r"shards: .*not of this data, or the data have changed"):
        write_shards(open_folder(folder), SPLITS, str(written), shard_megabytes=SHARD_MB)
    assert state(written) == before


def test_other_classes_are_noticed(folder: Path, written: Path) -> None:
    other = ClassSet(("a", "b"), ((0, 0, 0), (1, 1, 1)), {0: 0, 1: 1})
    with pytest.raises(DataError, match=r"manifest\.json there is not of this data"):
        write_shards(open_folder(folder, other), SPLITS, str(written), shard_megabytes=SHARD_MB)


@pytest.mark.parametrize("name", ["thesis.txt", "train-00000-of-00003.tfrecord"])
def test_a_folder_of_something_else_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / name).write_text("mine")
    with pytest.raises(DataError, match=rf"{name} there is not of this data"):
        write_shards(open_folder(folder), SPLITS, str(output), shard_megabytes=SHARD_MB)
    assert (output / name).read_text() == "mine"


def test_a_file_is_no_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="file: cannot be written"):
        write_shards(open_folder(folder), SPLITS, str(tmp_path / "file"))


def test_unreadable_sources_are_named(folder: Path, tmp_path: Path) -> None:
    source = open_folder(folder)
    samples = source.list_samples("val")
    broken = DataSource("broken", CITYSCAPES, lambda split: samples, ("val",))
    (folder / "val" / "image_1").unlink()
    with pytest.raises(DataError, match="image_1: cannot be read"):
        write_shards(broken, ["val"], str(tmp_path / "shards"))


def test_a_flipped_byte_is_named(written: Path) -> None:
    sample = open_shards(CONFIG, str(written), None).list_samples("train")[4]
    path = Path(sample.label.path)
    content = bytearray(path.read_bytes())
    content[sample.label.offset + 10] ^= 1
    path.write_bytes(content)
    assert read_bytes(sample.image)
    with pytest.raises(DataError, match=r"train-00001-of-00003\.tfrecord \(bytes .*damaged"):
        read_bytes(sample.label)


def test_cut_off_and_missing_shards_are_named(written: Path) -> None:
    source = open_shards(CONFIG, str(written), None)
    _cut(written / "train-00001-of-00003.tfrecord")
    with pytest.raises(DataError, match=r"train-00001-of-00003\.tfrecord: has \d+ bytes, it must have \d+"):
        source.list_samples("train")
    (written / "val-00000-of-00001.tfrecord").unlink()
    with pytest.raises(DataError, match=r"val-00000-of-00001\.tfrecord: is missing"):
        source.list_samples("val")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "acfnet_tf shards 1"}', '{"format": "acfnet_tf shards 9"}']
)
def test_a_bad_manifest_is_named(written: Path, text: str) -> None:
    (written / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: (damaged|is of the form 'acfnet_tf shards 9')"):
        open_shards(CONFIG, str(written), None)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _shards(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.tfrecord")}
