"""Data sets of TensorFlow Datasets, prepared by TFDS itself from small archives, read without a copy."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import IGNORED
from acfnet_tf.data.reading import load_sample, read_image, read_values
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers import cityscapes, tfds_source
from acfnet_tf.importers.tfds_source import open_tfds

tfds = pytest.importorskip("tensorflow_datasets")

NAMES = {
    "train": ("aachen_000000_000019", "zurich_000001_000019"),
    "val": ("frankfurt_000000_000294",),
    "test": ("berlin_000000_000019",),
}


def encoded(pixels: np.ndarray, file_format: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, compress_level=1)
    return stream.getvalue()


def config(name: str | None = "cityscapes", **settings: object) -> DataConfig:
    return DataConfig(format="tfds", name=name, **settings)


def write_cityscapes(root: Path) -> None:
    """The two official archives, of bands in 1024 × 2048, where TFDS wants them; unpacked as well, for comparison."""
    manual = root / "downloads" / "manual"
    manual.mkdir(parents=True)
    images = zipfile.ZipFile(manual / "leftImg8bit_trainvaltest.zip", "w")
    masks = zipfile.ZipFile(manual / "gtFine_trainvaltest.zip", "w")
    with images, masks:
        for seed, (split, name) in enumerate((split, name) for split, names in NAMES.items() for name in names):
            city, bands = name.split("_")[0], np.arange(1024)[:, None] // 16 + seed
            image = np.stack(np.broadcast_arrays(bands, 3 * bands, np.arange(2048)[None] // 32), -1).astype(np.uint8)
            values = np.broadcast_to(bands % 34, (1024, 2048)).astype(np.uint8)
            images.writestr(f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", encoded(image))
            masks.writestr(f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", encoded(values))
    for archive in manual.glob("*.zip"):
        zipfile.ZipFile(archive).extractall(root / "tree")


@pytest.fixture(scope="module")
def cityscapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cityscapes")
    write_cityscapes(root)
    open_tfds(config(), str(root), None)
    return root


@pytest.fixture
def write_custom(tmp_path: Path) -> Callable[..., Path]:
    """Prepares the data set "rooms" of six images in TFRecord files, as a user's own builder would."""

    def write(mask: object | None = None, values: int = 3, text: str = "room {}", **splits: int) -> Path:
        features = {
            "picture": tfds.features.Image(shape=(8, 12, 3), encoding_format="png"),
            "name": tfds.features.Text(),
            "classes": mask or tfds.features.Image(shape=(8, 12, 1), encoding_format="png"),
        }

        def examples(count: int) -> Iterator[tuple[int, dict[str, object]]]:
            for index in range(count):
                rng = np.random.default_rng(index)
                picture, classes = rng.integers(0, 256, (8, 12, 3), np.uint8), np.arange(96) % values
                yield (
                    index,
                    {
                        "picture": picture,
                        "name": text.format(index),
                        "classes": classes.reshape(8, 12, 1).astype(np.uint8),
                    },
                )

        tfds.dataset_builders.store_as_tfds_dataset(
            name="rooms",
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets={split: list(examples(count)) for split, count in (splits or {"train": 6}).items()},
            data_dir=tmp_path,
            disable_shuffling=True,
        )
        return tmp_path

    return write


def assert_same_samples(got: list[Sample], wanted: list[Sample]) -> None:
    assert sorted(sample.name for sample in got) == sorted(sample.name for sample in wanted)
    by_name = {sample.name: sample for sample in got}
    for sample in wanted:
        for array, expected in zip(
            load_sample(by_name[sample.name], CITYSCAPES), load_sample(sample, CITYSCAPES), strict=True
        ):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("split", ["train", "val", "test", "trainval"])
def test_cityscapes_is_what_its_folder_tree_is(cityscapes_dir: Path, split: str) -> None:
    source = open_tfds(config(), str(cityscapes_dir), None)
    assert source.classes.names == CITYSCAPES.names and CITYSCAPES.values.items() <= source.classes.values.items()
    assert source.splits == ("train", "val", "test") and "validation" in source.note
    assert_same_samples(source.list_samples(split), cityscapes.list_samples(cityscapes_dir / "tree", split))


def test_no_image_is_copied(cityscapes_dir: Path) -> None:
    sample = open_tfds(config(), str(cityscapes_dir), None).list_samples("train")[0]
    assert Path(sample.image.path).match("cityscapes/semantic_segmentation/1.0.0/cityscapes-train.tfrecord-*")


def test_names_from_config_name_or_version(cityscapes_dir: Path) -> None:
    full = open_tfds(config("cityscapes/semantic_segmentation:1.0.0"), str(cityscapes_dir), CITYSCAPES)
    assert full.name == f"TFDS cityscapes/semantic_segmentation/1.0.0 in {full.cache_dir}"
    assert full.classes is CITYSCAPES
    assert full.list_samples("train") == open_tfds(config(), str(cityscapes_dir), None).list_samples("train")


def test_cityscapes_without_its_archives(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_tfds(config(), str(tmp_path), None)
    message = str(caught.value)
    assert "\n" not in message
    for words in (f"{tmp_path}/downloads/manual", "leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"):
        assert words in message


def test_pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for archive, names in (("images", "ab"), ("annotations", "ab")):
        with tarfile.open(tmp_path / f"{archive}.tar.gz", "w") as tar:

            def add(path: str, content: bytes, tar: tarfile.TarFile = tar) -> None:
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))

            for number, _ in enumerate(names):
                name = f"boxer_{number}"
                if archive == "images":
                    add(f"images/{name}.jpg", encoded(rng.integers(0, 256, (20, 30, 3), np.uint8), "jpeg"))
                else:
                    add(f"annotations/trimaps/{name}.png", encoded(rng.integers(1, 4, (20, 30), np.uint8)))
                    add(f"annotations/{('trainval', 'test')[number]}.txt", f"{name} 9 2 1\n".encode())

    def fetch(self: object, urls: dict[str, str]) -> dict[str, str]:
        paths = {key: tmp_path / key for key in urls}
        for key, path in paths.items():
            with tarfile.open(tmp_path / f"{key}.tar.gz") as tar:
                tar.extractall(path, filter="data")
        return {key: str(path) for key, path in paths.items()}

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fetch)
    source = open_tfds(config("oxford_iiit_pet"), str(tmp_path), None)
    assert source.classes.names == ("pet", "background", "border")
    assert source.splits == ("train", "val") and "test" in source.note
    for split, tfds_split, name in (("train", "train", "boxer_0"), ("val", "test", "boxer_1")):
        (sample,) = source.list_samples(split)
        (wanted,) = tfds.as_numpy(tfds.builder("oxford_iiit_pet", data_dir=tmp_path).as_dataset(split=tfds_split))
        image, label = load_sample(sample, source.classes)
        assert sample.name == name
        np.testing.assert_array_equal(label, wanted["segmentation_mask"][..., 0] - 1)
        np.testing.assert_allclose(image, wanted["image"], atol=4)  # two JPEG decoders


def test_a_data_set_of_ones_own(write_custom: Callable[..., Path]) -> None:
    source = open_tfds(config("rooms", train_split="train[:4]", val_split="train[4:]"), str(write_custom()), None)
    builder = tfds.builder("rooms", data_dir=source.cache_dir.parents[1])
    for split, count in (
        ("train", 6),
        ("train[:4]", 4),
        ("train[4:]", 2),
        ("train[:50%]", 3),
        ("train[3:]+train[:1]", 4),
    ):
        samples = source.list_samples(split)
        wanted = list(tfds.as_numpy(builder.as_dataset(split=split)))
        assert len(samples) == len(wanted) == count
        for sample, example in zip(samples, wanted, strict=True):
            assert sample.name == example["name"].decode()
            np.testing.assert_array_equal(read_image(sample.image), example["picture"])
            np.testing.assert_array_equal(read_values(sample.label, "index"), example["classes"][..., 0])
    assert source.classes.names == ("class 0", "class 1", "class 2")


def test_names_that_are_not_unique_are_replaced(write_custom: Callable[..., Path]) -> None:
    source = open_tfds(config("rooms", classes="voc"), str(write_custom(text="a room")), None)
    names = [sample.name for sample in source.list_samples("train")]
    assert names == [f"rooms-train-00000-of-00001_{index:05d}" for index in range(6)]
    assert [sample.name for sample in source.list_samples("train[2:4]")] == names[2:4]


@pytest.mark.parametrize("text", ["/etc/room {}", "../room {}", ".room {}", "room {}\n", "a:{}", ""])
def test_names_that_are_bad_for_files_are_replaced(write_custom: Callable[..., Path], text: str) -> None:
    source = open_tfds(config("rooms", classes="voc"), str(write_custom(text=text)), None)
    assert source.list_samples("train")[1].name == "rooms-train-00000-of-00001_00001"


def test_classes_that_the_data_set_names(write_custom: Callable[..., Path]) -> None:
    mask = tfds.features.LabeledImage(labels=["floor", "wall", "lamp"], shape=(8, 12, 1), encoding_format="png")
    root = write_custom(mask)
    source = open_tfds(config("rooms"), str(root), None)
    assert source.classes.names == ("floor", "wall", "lamp")
    (root / "three.txt").write_text("low\nmiddle\nhigh\n")
    given = config("rooms", classes=str(root / "three.txt"), masks="index")
    assert open_tfds(given, str(root), None).classes.names == ("low", "middle", "high")


def test_indexing_is_done_once(write_custom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_tfds(config("rooms", classes="voc"), str(write_custom()), None)
    samples = source.list_samples("train")
    with monkeypatch.context() as patch:
        patch.setattr(tfds_source, "read_records", None)
        assert source.list_samples("train") == samples
    shard = Path(samples[0].image.path)
    content = shard.read_bytes()
    shard.write_bytes(content[:-30])
    with pytest.raises(DataError, match=r"rooms-train\.tfrecord-00000-of-00001: damaged or cut off"):
        source.list_samples("train")
    shard.write_bytes(content)
    (index,) = (source.cache_dir / ".acfnet_tf").glob("*.json")
    index.write_text("{")
    assert source.list_samples("train") == samples


def test_files_that_are_incomplete_are_named(write_custom: Callable[..., Path]) -> None:
    source = open_tfds(config("rooms", classes="voc"), str(write_custom()), None)
    (shard,) = source.cache_dir.glob("*tfrecord*")
    records = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(records[0])
    with pytest.raises(DataError, match=r"00000-of-00001: cut off, 1 of 6 records"):
        source.list_samples("train")
    shard.unlink()
    with pytest.raises(DataError, match=r"00000-of-00001: cannot be read"):
        source.list_samples("train")


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    write_custom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_tfds(config("rooms", classes="voc"), str(write_custom()), None)

    def refuse(path: str) -> None:
        raise tf.errors.PermissionDeniedError(None, None, path)

    monkeypatch.setattr(tf.io.gfile, "makedirs", refuse)
    assert len(source.list_samples("train")) == 6
    assert not (source.cache_dir / ".acfnet_tf").exists()


@pytest.mark.parametrize("split", ["val", "trainval", "dev", "train[", "train[:200]", "train[:0]", "all[:9%]"])
def test_splits_that_are_not_there(write_custom: Callable[..., Path], split: str) -> None:
    source = open_tfds(config("rooms", classes="voc"), str(write_custom()), None)
    with pytest.raises(
        DataError, match=r"rooms.*(no split .*There are: train; data.*train\[90%:\]|nothing in split)"
    ) as caught:
        source.list_samples(split)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": None}, r"wants data\.name=NAME"),
        ({"name": "citiscapes"}, r"no such data set.*Did you mean: cityscapes"),
        (
            {"name": "cityscapes/fine"},
            r"cityscapes/fine: cannot be opened\. Configurations.* are: semantic_segmentation, ",
        ),
        ({"name": "cityscapes/stereo_disparity"}, r"mask_feature: there is no image feature 'segmentation_label'"),
        ({"name": "voc/2012"}, r"data\.name=voc/2012: .*set data\.format=voc"),
        ({"name": "scene_parse150"}, r"set data\.format=ade20k"),
        ({"name": "ade20k"}, r"set data\.format=ade20k"),
        ({"name": "coco/2017"}, r"mask_feature: which feature is it\?.*image \(3 channels\).*without masks"),
        ({"name": "mnist"}, r"image_feature: which feature is it\?.*image \(1 channels\)"),
        ({"mask_feature": "labels"}, r"no image feature 'labels'.*image_left \(3 channels\), segmentation_label \(1"),
    ],
)
def test_data_sets_that_cannot_be_used(tmp_path: Path, settings: dict[str, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_tfds(config(**settings), str(tmp_path), None)
    assert "\n" not in str(caught.value)


def test_other_kinds_of_files(write_custom: Callable[..., Path]) -> None:
    root = write_custom()
    (info,) = root.glob("rooms/*/dataset_info.json")
    info.write_text(info.read_text().replace("tfrecord", "array_record"))
    with pytest.raises(DataError, match=r"holds array_record files.*tfds build rooms --file_format=tfrecord"):
        open_tfds(config("rooms", classes="voc"), str(root), None)


def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, urls: object) -> None:
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    with pytest.raises(DataError, match=r"oxford_iiit_pet/4\.0\.0: could not be downloaded.*\(no network\)"):
        open_tfds(config("oxford_iiit_pet"), str(tmp_path), None)


@pytest.mark.parametrize("name", tfds_source.LAYOUTS)
def test_known_data_sets_are_laid_out_as_tfds_has_them(name: str, tmp_path: Path) -> None:
    layout, features = tfds_source.LAYOUTS[name], tfds.builder(name, data_dir=tmp_path).info.features
    assert features[layout.image].shape[-1] == 3 and features[layout.mask].shape[-1] == 1
    assert sorted({*layout.classes.values.values()} - {IGNORED}) == list(range(len(layout.classes)))
