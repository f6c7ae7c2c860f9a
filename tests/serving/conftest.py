"""A server for the tests: the embedded one with a toy model, or any other that the environment names.

ACFNET_TF_SERVING=HOST:8500,http://HOST:8501 has the addresses (gRPC, REST) of another server, such as TensorFlow
Serving; ACFNET_TF_SERVING_MODEL the name of an exported model there; ACFNET_TF_SERVING_DIR its folder, if tests may
write new versions into it (toy models: let it be a model of no value).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import ServeConfig
from acfnet_tf.serving import Client
from acfnet_tf.serving.server import Server
from tests.serving.asking import CONFIG
from tests.serving.models import write_model

EXTERNAL = os.environ.get("ACFNET_TF_SERVING")
EMBEDDED_CONFIG = ServeConfig(rest_port=0, grpc_port=0, poll_seconds=0.1)
THRESHOLD = 128


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        addresses: by protocol.
        model: name of the model.
        folder: where its versions are, if tests may write there.
        is_toy: whether it labels by brightness, as `tests.serving.models` do.
    """

    addresses: dict[str, str]
    model: str
    folder: Path | None
    is_toy: bool

    def check(self, labels: np.ndarray, image: np.ndarray) -> None:
        """The labels are this image's, as far as that is known."""
        assert labels.shape == image.shape[:2]
        if self.is_toy:
            np.testing.assert_array_equal(labels, image.mean(axis=2) >= THRESHOLD)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    if EXTERNAL:
        grpc_address, rest_address = EXTERNAL.split(",")
        folder = os.environ.get("ACFNET_TF_SERVING_DIR")
        addresses = {"grpc": grpc_address, "rest": rest_address}
        yield Served(addresses, os.environ["ACFNET_TF_SERVING_MODEL"], folder and Path(folder), is_toy=False)
        return

    folder = tmp_path_factory.mktemp("models") / "toy"
    folder.mkdir()
    write_model(folder, threshold=THRESHOLD)
    with Server(folder, EMBEDDED_CONFIG) as server:
        addresses = {"grpc": server.grpc_address, "rest": server.rest_address}
        yield Served(addresses, "toy", folder, is_toy=True)


@pytest.fixture(scope="module", params=["grpc", "rest"])
def protocol(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def client(served: Served, protocol: str) -> Iterator[Client]:
    with Client(served.addresses[protocol], served.model) as client:
        yield client


def noise(height: int = 40, width: int = 50, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(pixels: np.ndarray, format: str = "PNG", **options) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """A model with one version, for copying and reading."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    folder.mkdir()
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def server(model_dir) -> Iterator[Server]:
    """The embedded server on that model, with small limits."""
    with Server(model_dir, CONFIG) as server:
        yield server
