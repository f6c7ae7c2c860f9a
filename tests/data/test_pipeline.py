"""The training pipeline: order is arithmetic, and bad data stop it with a line that names the file."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from acfnet_tf.config import DataConfig
from acfnet_tf.data.cityscapes import Sample, list_samples
from acfnet_tf.data.cityscapes_labels import TRAIN_IDS
from acfnet_tf.data.errors import DataError
from acfnet_tf.data.pipeline import diagnose, sample_file_index, training_dataset

CONFIG = DataConfig(crop_size=(24, 32))


def run(
    samples: list[Sample], config: DataConfig = CONFIG, seed: int = 1, first: int = 0, last: int = 21
) -> list[dict]:
    """Every sample of the pipeline as NumPy arrays, from batches of 3."""
    dataset = training_dataset(samples, config, seed=seed, batch_size=3, first_sample=first, last_sample=last)
    return [
        {key: value[i] for key, value in batch.items()} for batch in dataset.as_numpy_iterator() for i in range(3)
    ]  # fmt: skip


def same(left: list, right: list) -> bool:
    assert len(left) == len(right)
    return all(
        (a[key] == b[key]).all() for a, b in zip(left, right, strict=True) for key in ("image", "label", "index")
    )


def test_shapes_and_types(train_samples: list[Sample]) -> None:
    dataset = training_dataset(train_samples, CONFIG, seed=0, batch_size=3, first_sample=4, last_sample=15)
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
        np.testing.assert_array_equal(sample["label"], TRAIN_IDS[np.asarray(Image.open(source.label))])


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
        pytest.param("label", png(MASK, "P"), id="mask has a palette"),
        pytest.param("label", png(MASK, "LA"), id="mask is transparent"),
        pytest.param("label", png(MASK.astype(np.uint16)), id="mask has 16 bits"),
        pytest.param("label", png(MASK, "1"), id="mask has one bit"),
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
    with pytest.raises(DataError) as caught:
        diagnose(train_samples)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    diagnose(train_samples[:3] + train_samples[4:])


@pytest.mark.parametrize("field", ["image", "label"])
def test_what_the_graph_refuses_diagnose_refuses(cityscapes_root: Path, field: str) -> None:
    samples = list_samples(cityscapes_root, "train")[:1]
    path = Path(getattr(samples[0], field))
    whole = path.read_bytes()
    config = DataConfig(crop_size=(40, 80), scale_range=(1.0, 1.0), parallel_calls=1)
    dataset = training_dataset(samples, config, seed=0, batch_size=1, first_sample=0, last_sample=1)
    refused = 0
    for place in [*range(0, 60, 3), *range(60, len(whole), len(whole) // 10)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            list(dataset)
        except tf.errors.OpError:
            refused += 1
            with pytest.raises(DataError, match="aachen_000000"):
                diagnose(samples)
    assert refused > 15


def test_images_of_other_kinds_are_trained_on(train_samples: list[Sample]) -> None:
    for sample, content in zip(
        train_samples,
        [png(NOISE[..., 0]), png(NOISE, "RGBA"), png(NOISE, "P"), png(NOISE, kind="JPEG"), png(NOISE, kind="BMP")],
        strict=False,
    ):
        Path(sample.image).write_bytes(content)
    diagnose(train_samples)
    assert len(run(train_samples)) == 21
