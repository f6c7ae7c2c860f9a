"""Which version of a model the embedded server serves."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import pytest
import tensorflow as tf

from acfnet_tf.serving.server.model import WARMUP_FILE
from acfnet_tf.serving.server.versions import Versions
from tests.serving.asking import MIB
from tests.serving.models import write_model


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model with one version."""
    write_model(tmp_path / "toy")
    return tmp_path / "toy"


def test_the_largest_version_that_loads_serves(folder, capfd):
    versions = Versions(folder, "toy", MIB)
    versions.poll()
    old = weakref.ref(versions.current)
    write_model(folder, 2)
    write_model(folder, 10)
    versions.poll()
    gc.collect()
    assert old() is None, "the memory of the old version is held"
    assert versions.find("toy").version == 10
    assert {version: state.name for version, state in versions.states.items()} == {1: "END", 10: "AVAILABLE"}
    shutil.rmtree(folder / "10")
    versions.poll()
    assert versions.find("toy").version == 2
    shutil.rmtree(folder)
    versions.poll()
    assert versions.find("toy").version == 2, "the last one serves on"
    assert "serving version 2" in capfd.readouterr().err


def test_a_broken_version_is_reported_once_and_tried_again_when_it_changes(folder, capfd):
    versions = Versions(folder, "toy", MIB)
    whole = write_model(folder, 3).rename(folder / "whole")
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    shutil.copytree(whole, folder / "3", ignore=shutil.ignore_patterns("variables"))
    for _ in range(3):
        versions.poll()
    assert versions.find("toy").version == 1
    assert versions.states[3].name == "END"
    assert versions.states[3].problem
    assert capfd.readouterr().err.count("cannot be loaded") == 2
    shutil.copytree(whole, folder / "3", dirs_exist_ok=True)
    versions.poll()
    assert versions.find("toy").version == 3


def test_a_version_answers_its_warm_up_requests_before_it_serves(folder):
    versions = Versions(folder, "toy", MIB)
    shutil.copyfile(write_model(folder, 2) / WARMUP_FILE, folder / "warmup")
    records = list(tf.data.TFRecordDataset(str(folder / "warmup")).as_numpy_iterator())
    assert len(records) == 3
    with tf.io.TFRecordWriter(str(folder / "2" / WARMUP_FILE)) as writer:
        writer.write(records[0].replace(b"PNG", b"GNP"))
    versions.poll()
    assert versions.find("toy").version == 1
    assert "Unknown image file format" in versions.states[2].problem
