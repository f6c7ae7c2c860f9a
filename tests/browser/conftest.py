"""A page with two tiny runs in Chromium. `make test-browser` runs these tests."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.config import ExploreConfig
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.importers.cityscapes import list_samples
from acfnet_tf.visualization.panels import Run
from tests.visualization.networks import tiny_run

MAX_PIXELS = 20_000


class Served(NamedTuple):
    address: str
    runs: tuple[Run, Run]


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if (browser := next(filter(None, map(shutil.which, names)), None)) is None:
        pytest.skip(f"no browser on PATH; looked for {', '.join(names)}")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def served(tiny_scenes: Path, chromium) -> Iterator[Served]:
    """A run with both heads and a baseline, and the samples of a split."""
    from acfnet_tf.visualization.explore.server import serving

    runs = tiny_run("acf"), tiny_run("baseline", class_feature=None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = ExploreConfig(port=port, max_pixels=MAX_PIXELS, max_upload_mib=1)
    with serving(runs, CITYSCAPES, list_samples(tiny_scenes, "val"), config) as address:
        yield Served(address, runs)


@pytest.fixture
def open_page(chromium, served) -> Iterator[Callable]:
    """Opens the page for another user; at the end, nothing must have been asked of other computers, nor have failed."""
    contexts, asked, complaints = [], [], []

    def listen(message) -> None:
        # Gradio asks for the progress of an upload that may be complete by then, and logs that there is none.
        missed = message.text == "Response" or "upload_progress" in message.location["url"]
        if message.type == "error" and not missed:
            complaints.append(message.text)

    def open_page(width: int = 1280, height: int = 900):
        context = chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(served.address)
        page.wait_for_selector("#upload input[type=file]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []
    assert complaints == []


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Writes an image of blocks of random colours, which networks label differently."""

    def make(name: str, seed: int, size: tuple[int, int] = (64, 96)) -> tuple[Path, np.ndarray]:
        blocks = np.random.default_rng(seed).integers(0, 256, (-(-size[0] // 16), -(-size[1] // 16), 3), np.uint8)
        image = blocks.repeat(16, 0).repeat(16, 1)[: size[0], : size[1]]
        Image.fromarray(image).save(tmp_path / name)
        return tmp_path / name, image

    return make
