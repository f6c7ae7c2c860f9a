"""A cache of decoded samples changes nothing but the time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from tests.data.test_pipeline import CONFIG, NOISE, run, same, samples_with_names_that_are_not_utf_8


def test_cached_samples_are_the_same(train_samples: list[Sample], tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, cache=str(tmp_path / "cache"))
    plain = run(train_samples)
    assert same(plain, run(train_samples, config))
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    assert len(files) == 7
    assert same(plain, run(train_samples, config))
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == files
    # A changed file is decoded again.
    Image.fromarray(255 - NOISE).save(train_samples[2].image, compress_level=1)
    assert same(run(train_samples), run(train_samples, config))
    assert not same(plain, run(train_samples, config))


def test_a_cache_that_cannot_be_written_is_named(train_samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.cache"):
        run(train_samples, dataclasses.replace(CONFIG, cache=str(tmp_path / "file" / "cache")))


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, cache=str(tmp_path / "cache"))
    assert len(run(samples_with_names_that_are_not_utf_8(tmp_path), config, last=3)) == 3
