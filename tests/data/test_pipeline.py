"""The training pipeline: order is arithmetic, and bad data stop it with a line that names the file."""

from __future__ import annotations

import dataclasses
import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import IGNORED, ClassSet, pack_color
from acfnet_tf.data.order import SampleOrder, sample_file_index
from acfnet_tf.data.pipeline import diagnose
from acfnet_tf.data.reading import load_sample
from acfnet_tf.data.sample import Piece, Sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.training_data.dataset import training_dataset

CONFIG = DataConfig(crop_size=(24, 32))


def run(
    samples: list[Sample],
    config: DataConfig = CONFIG,
    seed: int = 1,
    first: int = 0,
    last: int = 21,
    classes: ClassSet = CITYSCAPES,
    order: SampleOrder | None = None,
) -> list[dict]:
    """Every sample of the pipeline as NumPy arrays, from batches of 3."""
    dataset = training_dataset(
        samples, classes, config, seed=seed, batch_size=3, first_sample=first, last_sample=last, order=order
    )
    return [
        {key: value[i] for key, value in batch.items()} for batch in dataset.as_numpy_iterator() for i in range(3)
    ]  # fmt: skip


def same(left: list, right: list) -> bool:
    assert len(left) == len(right)
    return all(
        (a[key] == b[key]).all() for a, b in zip(left, right, strict=True) for key in ("image", "label", "index")
    )


def test_shapes_and_types(train_samples: list[Sample]) -> None:
    dataset = training_dataset(train_samples, CITYSCAPES, CONFIG, seed=0, batch_size=3, first_sample=4, last_sample=15)
    assert dataset.element_spec == {
        "image": tf.TensorSpec((3, 24, 32, 3), tf.float32),
        "label": tf.TensorSpec((3, 24, 32), tf.uint8),
        "index": tf.TensorSpec((3,), tf.int64),
    }
    batches = list(dataset.as_numpy_iterator())
    assert np.concatenate([batch["index"] for batch in batches]).tolist() == list(range(4, 13))  # 13, 14 are dropped
    values = np.unique([batch["label"] for batch in batches])
    assert set(values) == {*range(19), 255}


def test_without_chance_it_is_the_file_with_train_ids(train_samples: list[Sample]) -> None:
    config = DataConfig(crop_size=(40, 80), scale_range=(1.0, 1.0), flip=False)
    for index, sample in enumerate(run(train_samples, config)):
        source = train_samples[int(sample_file_index(1, index, 7))]
        np.testing.assert_array_equal(sample["image"], np.asarray(Image.open(source.image)))
        np.testing.assert_array_equal(sample["label"], CITYSCAPES.table[np.asarray(Image.open(source.label))])


def test_resumes_at_any_index(train_samples: list[Sample]) -> None:
    whole = run(train_samples)
    for first in range(0, 19, 5):
        assert same(whole[first : first + 3], run(train_samples, first=first, last=first + 3))


@pytest.mark.parametrize("calls", [1, 2, 8])
def test_parallel_calls_change_nothing(train_samples: list[Sample], calls: int) -> None:
    assert same(run(train_samples), run(train_samples, dataclasses.replace(CONFIG, parallel_calls=calls)))


def test_seeds_and_epochs_differ(train_samples: list[Sample]) -> None:
    one, other = run(train_samples), run(train_samples, seed=2)
    assert not any((a["image"] == b["image"]).all() for a, b in zip(one, other, strict=True))
    files = [[int(sample_file_index(1, 7 * epoch + place, 7)) for place in range(7)] for epoch in range(3)]
    assert files[0] != files[1] != files[2] != files[0]
    # The same file is augmented otherwise in the next epoch.
    again = 7 + files[1].index(files[0][0])
    assert (one[0]["image"] != one[again]["image"]).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40), num_files=st.integers(1, 60), epoch=st.integers(0, 10**6))
def test_every_file_exactly_once_an_epoch(seed: int, num_files: int, epoch: int) -> None:
    files = [int(sample_file_index(seed, epoch * num_files + place, num_files)) for place in range(num_files)]
    assert sorted(files) == list(range(num_files))


def test_order_is_well_shuffled() -> None:
    """Every file comes equally often at every place, over many epochs."""
    counts = np.zeros((10, 10), int)
    draw = tf.function(lambda index: sample_file_index(5, index, 10))
    for index in range(3000):
        counts[index % 10, draw(tf.constant(index, tf.int64))] += 1
    assert ((counts - 30) ** 2 / 30).sum() < 160  # χ² with 81 degrees of freedom; 160 has probability 4e-7


def test_no_samples_and_samples_without_masks(train_samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="no training samples"):
        run([])
    with pytest.raises(DataError, match=train_samples[0].image):
        run([train_samples[0]._replace(label=None)])


def png(pixels: np.ndarray, mode: str | None = None, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


MASK = np.full((40, 80), 7, np.uint8)
NOISE = np.random.default_rng(3).integers(0, 256, (40, 80, 3), np.uint8)
WRONG_CHECKSUM = bytearray(png(NOISE))
WRONG_CHECKSUM[-16] ^= 1  # the last chunk takes 12 bytes, the checksum before it 4


@pytest.mark.parametrize(
    ("field", "content"),
    [
        pytest.param("label", png(MASK, "RGB"), id="mask is RGB"),
        pytest.param("label", png(MASK.astype(np.uint16) + 300), id="mask has other values in 16 bits"),
        pytest.param("label", png(MASK, kind="JPEG"), id="mask is a JPEG"),
        pytest.param("label", png(MASK + 60), id="mask has other values"),
        pytest.param("label", png(MASK[:30]), id="mask has another size"),
        pytest.param("label", png(MASK.T.copy()), id="mask is turned"),
        pytest.param("label", png(MASK)[:-20], id="mask is cut off"),
        pytest.param("label", b"", id="mask is empty"),
        pytest.param("label", None, id="mask is gone"),
        pytest.param("image", png(NOISE)[:2000], id="image is cut off"),
        pytest.param("image", png(NOISE, kind="JPEG")[:900], id="JPEG is cut off"),
        pytest.param("image", bytes(WRONG_CHECKSUM), id="image has a wrong checksum"),
        pytest.param("image", b"<html>", id="image is none"),
        pytest.param("image", None, id="image is gone"),
    ],
)
def test_bad_data_stop_the_pipeline_and_are_named(
    train_samples: list[Sample], field: str, content: bytes | None
) -> None:
    path = Path(getattr(train_samples[3], field))
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(tf.errors.OpError):
        run(train_samples, last=9)
    sample, error = diagnose(train_samples, CITYSCAPES)
    assert sample == train_samples[3] and str(path) in str(error) and "\n" not in str(error)
    assert diagnose(train_samples[:3] + train_samples[4:], CITYSCAPES) is None


@pytest.mark.parametrize("field", ["image", "label"])
def test_what_the_graph_refuses_diagnose_refuses(cityscapes_root: Path, field: str) -> None:
    samples = list_samples(cityscapes_root, "train")[:1]
    path = Path(getattr(samples[0], field))
    whole = path.read_bytes()
    config = DataConfig(crop_size=(40, 80), scale_range=(1.0, 1.0), parallel_calls=1)
    dataset = training_dataset(samples, CITYSCAPES, config, seed=0, batch_size=1, first_sample=0, last_sample=1)
    refused = 0
    for place in [*range(0, 60, 3), *range(60, len(whole), len(whole) // 10)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            list(dataset)
        except tf.errors.OpError:
            refused += 1
            assert "aachen_000000" in str(diagnose(samples, CITYSCAPES)[1])
    assert refused > 15


def test_images_of_other_kinds_are_trained_on(train_samples: list[Sample]) -> None:
    for sample, content in zip(
        train_samples,
        [png(NOISE[..., 0]), png(NOISE, "RGBA"), png(NOISE, "P"), png(NOISE, kind="JPEG"), png(NOISE, kind="BMP")],
        strict=False,
    ):
        Path(sample.image).write_bytes(content)
    assert diagnose(train_samples, CITYSCAPES) is None
    assert len(run(train_samples)) == 21


def whole_files(samples: list[Sample], classes: ClassSet, **settings) -> dict[str, np.ndarray]:
    """{name of a sample: (H, W) labels} through the pipeline, where nothing is left to chance."""
    config = DataConfig(crop_size=(40, 80), scale_range=(1.0, 1.0), flip=False, **settings)
    order = [samples[int(sample_file_index(1, index, len(samples)))] for index in range(21)]
    crops = run(samples, config, classes=classes)
    return {sample.name: crop["label"] for sample, crop in zip(order, crops, strict=True)}


def index_classes(count: int) -> ClassSet:
    values = {index: index for index in range(count)} | {65_535 if count > 254 else 255: IGNORED}
    return ClassSet(tuple(f"class {index}" for index in range(count)), default_colors(count), values)


@pytest.mark.parametrize("mode", ["L", "P", "P4", "P1", "1", "LA", "I;16", "BMP", "GIF", "TIFF"])
def test_masks_of_all_kinds_are_read_as_numbers(tmp_path: Path, mode: str) -> None:
    """Never as the colours of their palette, and as evaluation reads them."""
    values = np.random.default_rng(0).integers(0, 2 if mode in ("P1", "1") else 15, (40, 80)).astype(np.uint8)
    image, kind, options = Image.fromarray(values), "PNG", {}
    if mode.startswith("P"):
        image = Image.fromarray(values, "P")
        image.putpalette([200, 10, 30] * 256)  # all the same: only the numbers tell
        options = {"bits": int(mode[1:] or 8), "transparency": 3}
    elif mode == "1":
        image = Image.fromarray(values.astype(bool))
    elif mode == "LA":
        image.putalpha(Image.fromarray(255 - values))
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    elif mode in ("BMP", "GIF", "TIFF"):
        kind = mode
    mask, photo = tmp_path / "mask", tmp_path / "image.png"
    image.save(mask, kind, **options)
    Image.fromarray(NOISE).save(photo)
    samples, classes = [Sample("a", str(photo), str(mask))], index_classes(15)
    np.testing.assert_array_equal(load_sample(samples[0], classes)[1], values)
    np.testing.assert_array_equal(whole_files(samples, classes)["a"], values)


@pytest.mark.parametrize("count", [2, 150, 254, 255, 1000])
def test_any_number_of_classes(tmp_path: Path, count: int) -> None:
    classes = index_classes(count)
    values = np.random.default_rng(0).integers(0, count, (40, 80)).astype(np.uint8 if count <= 254 else np.uint16)
    values[:3] = max(classes.values)
    photo, mask = tmp_path / "image.png", tmp_path / "mask.png"
    Image.fromarray(NOISE).save(photo)
    Image.fromarray(values).save(mask)
    labels = whole_files([Sample("a", str(photo), str(mask))], classes)["a"]
    assert labels.dtype == (np.uint8 if count <= 254 else np.uint16)
    np.testing.assert_array_equal(labels, np.where(values < count, values, classes.ignore_label))
    padded = run([Sample("a", str(photo), str(mask))], DataConfig(crop_size=(90, 170)), classes=classes, last=3)
    assert set(np.unique(padded[0]["label"])) <= {*range(count), classes.ignore_label}


def test_color_masks(tmp_path: Path) -> None:
    colors = ((255, 0, 0), (0, 0, 255))
    classes = ClassSet(("a", "b"), colors, {pack_color(colors[0]): 0, pack_color(colors[1]): 1, 0: IGNORED}, "color")
    pick = np.random.default_rng(0).integers(0, 3, (40, 80))
    photo, mask = tmp_path / "image.png", tmp_path / "mask.png"
    Image.fromarray(NOISE).save(photo)
    Image.fromarray(np.array([*colors, (0, 0, 0)], np.uint8)[pick]).save(mask)
    samples = [Sample("a", str(photo), str(mask))]
    np.testing.assert_array_equal(whole_files(samples, classes)["a"], np.array([0, 1, 255])[pick])
    Image.fromarray(np.full((40, 80, 3), (255, 0, 1), np.uint8)).save(mask)
    with pytest.raises(tf.errors.OpError, match="no class"):
        run(samples, classes=classes)
    assert "(255, 0, 1)" in str(diagnose(samples, classes)[1])


def test_pieces_of_a_file_are_as_good_as_files(train_samples: list[Sample], tmp_path: Path) -> None:
    big, pieces = tmp_path / "shard", []
    content = b"start"
    for sample in train_samples:
        places = []
        for source in (sample.image, sample.label):
            data = Path(source).read_bytes()
            places.append(Piece(str(big), len(content), len(data), zlib.crc32(data)))
            content += data
        pieces.append(Sample(sample.name, *places))
    big.write_bytes(content)
    assert same(run(train_samples), run(pieces))
    damaged = bytearray(content)
    damaged[pieces[2].image.offset + 900] ^= 4
    big.write_bytes(damaged)
    with pytest.raises(tf.errors.OpError):
        run(pieces)
    sample, error = diagnose(pieces, CITYSCAPES)
    assert sample == pieces[2] and str(big) in str(error) and "damaged" in str(error)


def samples_with_names_that_are_not_utf_8(tmp_path: Path) -> list[Sample]:
    samples = []
    for name in (b"l\xff", "é".encode()):
        image, mask = (tmp_path / f"{os.fsdecode(name)}{kind}.png" for kind in ("", "_mask"))
        for file, shape in ((image, (30, 40, 3)), (mask, (30, 40))):
            content = io.BytesIO()
            Image.fromarray(np.full(shape, 7, np.uint8)).save(content, "PNG")
            file.write_bytes(content.getvalue())
        samples.append(Sample(os.fsdecode(name), str(image), str(mask)))
    return samples


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    assert len(run(samples_with_names_that_are_not_utf_8(tmp_path), last=3)) == 3
