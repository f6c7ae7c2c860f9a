"""Folders on a model server: names, bad images, a server that goes away, Ctrl-C."""

from __future__ import annotations

import _thread
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.errors import UserError
from acfnet_tf.serving import Client, RefusedError, ServingError
from acfnet_tf.serving.client import main, segment_files
from tests.serving.conftest import encoded, noise


def names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    for name in ("a.jpg", "b.png", "sub/a.bmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise()).save(folder / name)
    return folder


def test_the_command_labels_a_folder(served, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["client", f"--input={images}", f"--address={served.addresses['rest']}", f"--model={served.model}"]
    )
    main()
    assert names(tmp_path / "images_labels") == ["a.png", "b.png", "sub/a.png"]
    assert "3 label images" in capsys.readouterr().out
    served.check(np.asarray(Image.open(tmp_path / "images_labels" / "b.png")), noise())


def test_bad_images_are_named_and_the_others_done(served, images, tmp_path, monkeypatch):
    (images / "broken.png").write_bytes(encoded(noise())[:-30])
    (images / "empty.jpg").touch()
    flags = [f"--input={images}", f"--address={served.addresses['grpc']}", f"--model={served.model}"]
    monkeypatch.setattr(sys, "argv", ["client", *flags, f"--output={tmp_path / 'out'}", "--parallel=2"])
    with pytest.raises(SystemExit, match="2 of 5 images failed; the others are done") as exit:
        main()
    assert "broken.png" in str(exit.value) and "empty.jpg" in str(exit.value)
    assert names(tmp_path / "out") == ["a.png", "b.png", "sub/a.png"]


def test_one_file_and_names_that_collide(images, tmp_path):
    def client(file: Path) -> np.ndarray:
        return np.zeros((2, 3), np.uint8)

    assert segment_files(client, images / "a.jpg", tmp_path / "one", progress=False) == [tmp_path / "one" / "a.png"]
    Image.fromarray(noise()).save(images / "a.png")
    segment_files(client, images, tmp_path / "all", progress=False)
    assert names(tmp_path / "all") == ["a.jpg.png", "a.png.png", "b.png.png", "sub/a.bmp.png"]


def many(folder: Path) -> Path:
    folder.mkdir()
    for index in range(50):
        (folder / f"{index:02}.png").write_bytes(encoded(noise(2, 2)))
    return folder


def test_a_server_that_goes_away_ends_the_work(tmp_path):
    asked = []

    def client(file: Path) -> np.ndarray:
        asked.append(file)
        if len(asked) > 5:
            raise ServingError("it is gone")
        return np.zeros((2, 2), np.uint8)

    with pytest.raises(ServingError, match="gone"):
        segment_files(client, many(tmp_path / "in"), tmp_path / "out", parallel=1, progress=False)
    assert len(names(tmp_path / "out")) == 5
    assert len(asked) < 10


@pytest.fixture
def ctrl_c():
    """Python's own handling of Ctrl-C, also where pytest was started with SIGINT ignored, as in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_finishes_what_is_under_way(tmp_path):
    def client(file: Path) -> np.ndarray:
        if file.name == "05.png":
            _thread.interrupt_main()
        time.sleep(0.02)
        return np.zeros((2, 2), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        segment_files(client, many(tmp_path / "in"), tmp_path / "out", parallel=2, progress=False)
    done = names(tmp_path / "out")
    assert 5 <= len(done) < 50
    for name in done:
        assert Image.open(tmp_path / "out" / name).size == (2, 2)


def test_mistakes(images, tmp_path):
    def client(file: Path) -> np.ndarray:
        raise RefusedError("not reached")

    with pytest.raises(UserError, match="own folder"):
        segment_files(client, images, images)
    with pytest.raises(UserError, match="no such file"):
        segment_files(client, tmp_path / "missing", tmp_path / "out")


@pytest.mark.parametrize("flag", ["--input=", "--output="])
def test_an_empty_path_is_not_the_current_folder(flag, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["client", "--input=a", "--address=http://127.0.0.1:1", flag])
    with pytest.raises(SystemExit):
        main()
    assert f"argument {flag[:-1]}: names no file or folder" in capsys.readouterr().err


def test_no_server_is_one_line(images, monkeypatch):
    monkeypatch.setattr(
        Client, "__call__", lambda self, image: (_ for _ in ()).throw(ServingError("HOST: UNAVAILABLE"))
    )
    monkeypatch.setattr(sys, "argv", ["client", f"--input={images}", "--address=http://localhost:1"])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == "Error: HOST: UNAVAILABLE"


def test_a_file_that_cannot_be_written_does_not_stop_the_others(images, tmp_path):
    def client(file: Path) -> np.ndarray:
        return np.zeros((2, 3), np.uint8)

    (tmp_path / "out" / "b.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"1 of 3 images failed; the others are done:\n.*b.png: Is a directory"):
        segment_files(client, images, tmp_path / "out", progress=False)
    assert names(tmp_path / "out") == ["a.png", "sub/a.png"]
