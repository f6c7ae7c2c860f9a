"""Which words `model.weights` accepts, and what they say where weights are not to be had."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import keras
import pytest

from acfnet_tf.config import ModelConfig
from acfnet_tf.pretrained.find import find_pretrained, find_weights
from acfnet_tf.pretrained.imagenet import impatient_network
from acfnet_tf.pretrained.keras_resnet import layers_of
from acfnet_tf.pretrained.preprocessing import OF_KERAS_NETWORKS
from acfnet_tf.pretrained.pretrained import Pretrained
from tests.pretrained.finding import assert_layers, narrow_mobilenet, refusal, save_legacy

RESNET50_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
MOBILENET_FILE = "mobilenet_2_5_224_tf_no_top.h5"


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return narrow_mobilenet()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Keras's cache of weights, still empty, on a machine that resolves no names."""

    def no_network(*args, **kwargs):
        raise socket.gaierror("no such host")

    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr("keras.src.backend.config.keras_home", lambda: str(home))  # Keras reads the variable on import
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    return home / "models"


def test_none_is_no_weights():
    assert find_pretrained("none", "resnet101") is None


@pytest.mark.parametrize(
    ("backbone", "url"),
    [
        ("resnet50", f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{RESNET50_FILE}"),
        ("mobilenet_v2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
        ("resnet18", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ],
)
def test_without_network_imagenet_stops_and_auto_warns_with_the_file_to_fetch(cache, capsys, backbone, url):
    message = refusal("imagenet", backbone)
    assert url in message
    if backbone != "resnet18":
        assert str(cache) in message
    assert capsys.readouterr().err == ""
    start = find_weights(ModelConfig(backbone=backbone, weights="auto"))
    assert start.config == ModelConfig(backbone=backbone, weights="auto", initialization="random weights")
    warning = capsys.readouterr().err
    assert "training starts from scratch" in warning
    assert url in warning
    assert len(warning.splitlines()) > 4


def test_a_damaged_file_in_the_cache_is_never_taken(cache, mobilenet):
    (cache / RESNET50_FILE).write_bytes(b"half of a download")
    message = refusal("imagenet", "resnet50")
    assert "was damaged or another file" in message
    assert message.count(RESNET50_FILE) == 2  # it, and the one to fetch

    save_legacy(mobilenet, cache / MOBILENET_FILE)
    whole = (cache / MOBILENET_FILE).read_bytes()
    (cache / MOBILENET_FILE).write_bytes(whole[: len(whole) // 2])
    assert f"delete {cache / MOBILENET_FILE}" in refusal("imagenet", "mobilenet", 16)


@pytest.mark.parametrize("word", ["imagenet", "auto"])
def test_a_file_in_the_cache_needs_no_network(cache, mobilenet, word):
    save_legacy(mobilenet, cache / MOBILENET_FILE)
    found = find_pretrained(word, "mobilenet", 16)
    assert_layers(found, Pretrained("", layers_of(mobilenet), OF_KERAS_NETWORKS["mobilenet"]))
    assert "imagenet" in found.source


def test_a_width_without_imagenet_weights_stops_imagenet_and_not_auto(cache, capsys):
    assert "model.backbone_width=64, not 16" in refusal("imagenet", "resnet50", 16)
    assert "model.backbone_width=32 or 48 or 64, not 16" in refusal("imagenet", "mobilenet_v2", 16)
    assert find_pretrained("auto", "resnet50", 16) is None
    assert "model.backbone_width=64, not 16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "backbone", "hint"),
    [
        ("imagnet", "resnet50", "Did you mean: imagenet?"),
        ("auto", "resnt50", "Did you mean: resnet50"),
        ("weights/resnet50.pth", "resnet50", "no file or run folder weights/resnet50.pth"),
        ("resnet50.h5", "resnet50", "no file or run folder resnet50.h5"),
        ("keras_hub:mobilenet_v3_small_100_imagenet", "mobilenet_v3_small", "keras_hub"),
        ("imagenet", "segformer_b2", "keras_hub:mit_b2_ade20k_512"),
        ("imagenet", "segformer_b5", "keras_hub:mit_b5_ade20k_640"),
    ],
)
def test_a_slip_is_answered_with_what_is_accepted(weights, backbone, hint):
    assert hint in refusal(weights, backbone)


def test_keras_hub_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    assert ".[keras_hub]" in refusal("keras_hub:resnet_50_imagenet", "resnet50")


def test_the_network_is_impatient_for_a_while_only(monkeypatch):
    addresses = [(family, 1, 6, "", (str(number), 443)) for family in (10, 2) for number in range(16)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses)
    before = socket.getaddrinfo

    @impatient_network()
    def fail() -> None:
        assert 5 <= socket.getdefaulttimeout() <= 30
        assert socket.getaddrinfo("host", 443) == [addresses[0], addresses[16]]
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert socket.getdefaulttimeout() is None
    assert socket.getaddrinfo is before
