"""Which files `model.weights` accepts, and that nothing in them runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acfnet_tf.pretrained.find import find_pretrained
from acfnet_tf.pretrained.keras_resnet import layers_of, resnet_from_keras
from acfnet_tf.pretrained.preprocessing import OF_KERAS_NETWORKS
from acfnet_tf.pretrained.pretrained import Pretrained
from tests.pretrained.finding import assert_layers, narrow_mobilenet, refusal, save_legacy
from tests.pretrained.keras_networks import hub_resnet


@pytest.fixture(scope="module")
def resnet18() -> keras.Model:
    return hub_resnet("resnet18")


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return narrow_mobilenet()


def test_every_form_of_keras_is_read_whatever_its_name(resnet18, tmp_path):
    expected = resnet_from_keras(resnet18, "resnet18", "")
    save_legacy(resnet18, tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "weights", "w") as weights:
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", weights)
        weights.attrs.update(whole["model_weights"].attrs)
    resnet18.save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "renamed.bin")
    for name in ("whole.h5", "weights", "renamed.bin"):
        found = find_pretrained(str(tmp_path / name), "resnet18")
        assert_layers(found, expected)
        assert found.source == f"{name} (sha256 {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()[:12]})"


def test_weights_of_keras_applications_with_their_classifier(tmp_path):
    model = keras.applications.ResNet50(weights=None)
    model.save_weights(tmp_path / "mine.weights.h5")
    found = find_pretrained(str(tmp_path / "mine.weights.h5"), "resnet50")
    assert_layers(found, resnet_from_keras(model, "resnet50", ""))


@pytest.mark.parametrize("file", ["model.keras", "legacy.h5", "of.weights.h5"])
def test_other_networks_of_keras_applications(mobilenet, tmp_path, file):
    path = tmp_path / file
    mobilenet.save_weights(path) if file.endswith(".weights.h5") else save_legacy(mobilenet, path)
    found = find_pretrained(str(path), "mobilenet", 16)
    assert_layers(found, Pretrained("", layers_of(mobilenet), OF_KERAS_NETWORKS["mobilenet"]))


def test_another_network_is_refused_with_the_file_s_name(resnet18, mobilenet, tmp_path):
    resnet18.save(tmp_path / "resnet18.keras")
    mobilenet.save(tmp_path / "mobilenet.keras")
    resnet18.save_weights(tmp_path / "resnet18.weights.h5")
    assert "resnet18.keras (sha256 " in refusal(tmp_path / "resnet18.keras", "resnet34")
    assert "--set model.backbone=resnet18" in refusal(tmp_path / "resnet18.keras", "resnet34")
    assert "mobilenet.keras" in refusal(tmp_path / "mobilenet.keras", "resnet50")
    assert "resnet18.keras" in refusal(tmp_path / "resnet18.keras", "mobilenet", 16)
    assert "resnet18.weights.h5" in refusal(tmp_path / "resnet18.weights.h5", "mobilenet", 16)
    assert "resnet18.weights.h5" in refusal(tmp_path / "resnet18.weights.h5", "resnet18")


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        ("resnet50", "holds no ResNet"),
        ("efficientnet_lite0", "no EfficientNet-Lite0"),
        ("mobilenet_v2", "PyTorch's are read for ResNets"),
    ],
)
def test_files_of_pytorch_are_read_for_networks_that_it_has(tmp_path, backbone, reason):
    pytest.importorskip("safetensors.numpy").save_file({"other.weight": np.zeros(3)}, tmp_path / "other.safetensors")
    message = refusal(tmp_path / "other.safetensors", backbone)
    assert reason in message
    assert "other.safetensors" in message


def test_code_in_a_keras_file_does_not_run(tmp_path):
    def mark(tensor):
        import pathlib

        pathlib.Path(marker).touch()
        return tensor

    marker = str(tmp_path / "ran")
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Lambda(mark)(images)).save(tmp_path / "evil.keras")
    Path(marker).unlink()
    assert "evil.keras" in refusal(tmp_path / "evil.keras")
    assert not Path(marker).exists()


@pytest.mark.parametrize("file", ["model.keras", "legacy.h5", "of.weights.h5"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused_by_name(resnet18, tmp_path, file, share):
    path = tmp_path / file
    resnet18.save_weights(path) if file.endswith(".weights.h5") else save_legacy(resnet18, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert str(path) in refusal(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(content=st.binary(max_size=99), magic=st.sampled_from([b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n"]))
def test_a_file_of_anything_else_is_refused_in_one_line(tmp_path, content, magic):
    path = tmp_path / "weights"
    path.write_bytes(magic + content)
    assert str(path) in refusal(path)
