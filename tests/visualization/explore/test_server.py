"""The server answers what its page asks for, to its own computer; no other file can be had from it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from acfnet_tf.config import ExploreConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.errors import UserError
from acfnet_tf.visualization.explore.server import is_open, serving
from tests.visualization.networks import tiny_run

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def client():
    with (
        serving([tiny_run("tiny")], CITYSCAPES, [], ExploreConfig(port=free_port())) as address,
        httpx.Client(base_url=address) as client,
    ):
        yield client
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).exists()


def test_the_page_and_its_headers(client):
    answer = client.get("/")
    assert answer.status_code == 200 and "Explore tiny" in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/theme.css").status_code == 200


def test_nothing_else_is_open(client, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    for path in (
        *("info", "openapi.json", "call/open", "api/predict", "proxy=https://a.hf.space/", "file=https://example.org/"),
        *(f"file={file}" for file in ("/etc/passwd", tmp_path / "secret.png", ROOT / "setup.cfg", "../setup.cfg")),
        *("runs", "deep_link", "vibe-code/", "app_id", "token", "component_server"),
    ):
        assert client.get(f"/gradio_api/{path}").status_code in (403, 404), path
    assert client.get("/monitoring").status_code == 404


def test_requests_under_foreign_names_are_refused(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": f"localhost:{client.base_url.port}"}).status_code == 200


def test_a_forged_upload_reads_no_other_file(client, tmp_path):
    """The page names an uploaded file by its path: any other path must not be opened."""
    config = json.loads(re.search(r"window.gradio_config = (.*?);</script>", client.get("/").text)[1])
    uploads = next(d["id"] for d in config["dependencies"] if any(name == "upload" for _, name in d["targets"]))

    def opened(path: str) -> str:
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, 50]
        body = {"data": data, "fn_index": uploads, "session_hash": "any"}
        assert client.post("/gradio_api/queue/join", json=body).status_code == 200
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "any"}) as events:
            return [line for line in events.iter_lines() if "process_completed" in line][-1]

    image = tmp_path / "image.png"
    Image.new("RGB", (40, 30)).save(image)
    (uploaded,) = client.post("/gradio_api/upload", files={"files": ("image.png", image.read_bytes())}).json()
    assert '"success":true' in opened(uploaded) and "40×30 pixels" in opened(uploaded)
    assert '"success":false' in opened(str(image))


def test_what_is_large_is_refused(tmp_path):
    with (
        serving([tiny_run("tiny")], CITYSCAPES, [], ExploreConfig(port=free_port(), max_upload_mib=1)) as address,
        httpx.Client(base_url=address) as client,
    ):
        answer = client.post("/gradio_api/upload", files={"files": ("large.png", b"0" * (2**20 + 1))})
        assert answer.status_code == 413
        assert client.post("/gradio_api/upload", files={"files": ("small.png", b"0" * 1000)}).status_code == 200


def test_a_port_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port}: .*in use.*--set explore.port"):
            next(iter(serving([], CITYSCAPES, [], ExploreConfig(port=port)).gen))
    with pytest.raises(UserError, match=r"explore.port = 70000: expected a whole number from 0 to 65,535"):
        ExploreConfig(port=70_000)


@pytest.mark.parametrize("path", ["/", "/assets/a.js", "/gradio_api/queue/join", "/gradio_api/file=/tmp/a.jpg"])
def test_open_paths(path):
    assert is_open(path)


@pytest.mark.parametrize("path", ["/docs", "/gradio_api/file=HTTP://a", "/gradio_api/run/x", "/monitoring/summary"])
def test_closed_paths(path):
    assert not is_open(path)


def test_sigterm_ends_it_cleanly(tmp_path):
    code = (
        "from acfnet_tf.config import ExploreConfig\n"
        "from acfnet_tf.data.cityscapes import CITYSCAPES\n"
        "from acfnet_tf.visualization.explore.server import explore\n"
        f"explore([], CITYSCAPES, [], ExploreConfig(port={free_port()}))\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert "Ctrl-C ends it" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert not list(tmp_path.glob("acfnet_explore_*"))
