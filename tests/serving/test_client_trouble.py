"""What the client does when the server is busy, silent or gone, and with what it cannot send."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from acfnet_tf.errors import DataError, UserError
from acfnet_tf.serving import Client, RefusedError, ServingError
from tests.serving.conftest import encoded, noise
from tests.serving.stand_in import StandIn

PIXELS = noise(60, 60)[..., 0]


def make(*failures: str, pixels: np.ndarray = PIXELS) -> StandIn:
    return StandIn(encoded(pixels), list(failures))


def test_a_busy_server_is_asked_again(protocol):
    stand_in = make("UNAVAILABLE", "UNAVAILABLE")
    with stand_in.listening(protocol) as address, Client(address) as client:
        # More than the 256 KiB that gRPC keeps for a repetition by default.
        np.testing.assert_array_equal(client(noise(400, 400)), PIXELS)
    assert stand_in.requests == 3


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL"])
def test_nothing_else_is_repeated(protocol, code):
    stand_in = make(code, code)
    with (
        stand_in.listening(protocol) as address,
        Client(address) as client,
        pytest.raises(ServingError, match="told to fail") as error,
    ):
        client(noise())
    assert stand_in.requests == 1
    assert address in str(error.value)
    assert isinstance(error.value, RefusedError) == (code == "INVALID_ARGUMENT")


def test_a_silent_server_is_given_up(protocol):
    stand_in = make()
    stand_in.release.clear()
    with stand_in.listening(protocol) as address, Client(address, timeout=0.3) as client:
        try:
            with pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED.*timeout"):
                client(noise())
        finally:
            stand_in.release.set()
    assert stand_in.requests == 1


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return reserved.getsockname()[1]


def test_no_server(protocol, free_port):
    with (
        Client(f"127.0.0.1:{free_port}", protocol=protocol, retries=0) as client,
        pytest.raises(ServingError, match=rf"127\.0\.0\.1:{free_port}: UNAVAILABLE.*Is the server up"),
    ):
        client(noise())


def test_a_server_that_comes_up_late(protocol, free_port):
    with Client(f"127.0.0.1:{free_port}", protocol=protocol) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client, noise())
        time.sleep(0.3)
        with make().listening(protocol, free_port):
            np.testing.assert_array_equal(answer.result(), PIXELS)


def test_answers_above_4_mib_and_of_16_bits(protocol):
    labels = np.random.default_rng(0).integers(0, 2**16, (1500, 1500), np.uint16)
    with make(pixels=labels).listening(protocol) as address, Client(address) as client:
        answer = client(noise())
    assert answer.dtype == np.uint16
    np.testing.assert_array_equal(answer, labels)


def test_what_is_no_image(client, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(DataError, match="not an image"):
        client(tmp_path / "notes.png")
    with pytest.raises(DataError, match="cannot be read"):
        client(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="uint8"):
        client(noise().astype(np.float32))


@pytest.mark.parametrize("address", ["", "localhost", "http://", "ftp://localhost:21", "localhost:port"])
def test_bad_addresses(address):
    with pytest.raises(UserError, match="expected http://HOST:PORT"):
        Client(address)


def test_protocol_and_address_agree():
    with pytest.raises(UserError, match="not for protocol 'grpc'"):
        Client("http://localhost:8501", protocol="grpc")
