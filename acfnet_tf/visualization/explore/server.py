"""Serves the page to this computer: which requests it answers, how large they may be, and how it ends."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from acfnet_tf.config import ExploreConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError, needs_extra
from acfnet_tf.signals import Interruption
from acfnet_tf.visualization.panels import Run

MOST_SESSIONS = 8
"""So many open pages keep their image; with one more, the one that was used longest ago is forgotten."""
MOST_WAITING = 32
_ANYWHERE = ("0.0.0.0", "::")

# What the page itself asks for. Everything else that Gradio answers (its API, fetching of addresses, …) stays closed.
_PATHS = ("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")
_FOLDERS = ("/static/", "/assets/", "/svelte/")
_CALLS = ("upload", "queue/join", "queue/data", "heartbeat/", "startup-events", "reset", "cancel")
_OFF = ("share", "ssr_mode", "pwa", "mcp_server", "enable_monitoring", "run_history")
_HEADERS = {
    # The browser itself refuses whatever is not from here.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self';"
    " object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def explore(runs: Sequence[Run], classes: ClassSet, samples: Sequence[Sample], config: ExploreConfig) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
        runs: one, or two to compare, whose networks know the same classes.
        samples: of which some are offered beside the user's own images; may be none.

    Raises:
        UserError: Gradio is not installed, the address cannot be had, or a model is no ACFNet.
    """
    with Interruption("closing the page") as interruption, serving(runs, classes, samples, config) as address:
        print(f"Explore {', '.join(run.name for run in runs)} at {address} (Ctrl-C ends it).", flush=True)
        if config.host not in ("127.0.0.1", "::1", "localhost"):
            print("Everyone who reaches this port can use the page: it asks for no password.", flush=True)
        interruption.wait()


@contextlib.contextmanager
def serving(runs: Sequence[Run], classes: ClassSet, samples: Sequence[Sample], config: ExploreConfig) -> Iterator[str]:
    """Serves the page inside of a `with` block, which is given its address; see `explore`."""
    _check_address(config)
    with tempfile.TemporaryDirectory(prefix="acfnet_explore_", ignore_cleanup_errors=True) as folder:
        # Gradio reads these when it is imported and when it makes a page. It shall tell nobody, and write here only.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_EXAMPLES_CACHE": folder}
        with needs_extra("explore", "--mode=explore"):
            import gradio  # noqa: F401
        from acfnet_tf.visualization.explore.page import Page
        from acfnet_tf.visualization.explore.style import css, theme

        page = Page(runs, classes, samples, config, Path(folder))
        page.blocks.queue(max_size=MOST_WAITING, api_open=False)
        try:
            _, address, _ = page.blocks.launch(
                server_name=f"[{config.host}]" if ":" in config.host else config.host,
                server_port=config.port,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                **dict.fromkeys(_OFF, False),
                max_file_size=config.max_upload_mib * 2**20,
                state_session_capacity=MOST_SESSIONS,
                theme=theme(),
                css=css(classes),
                app_kwargs={"middleware": _middleware(config.host)},
            )
            yield address
        finally:
            page.blocks.close(verbose=False)


def _check_address(config: ExploreConfig) -> None:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        socket.create_server((config.host, config.port), family=family).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot serve at {config.host}, port {config.port}: {reason}."
            " Choose another with --set explore.port=PORT (or explore.host)."
        ) from error


def _middleware(host: str) -> list[Any]:
    """Refuses requests under other names than this computer's, as of a foreign page whose name now leads here."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    hosts = ["*"] if host in _ANYWHERE else ["localhost", "127.0.0.1", "::1", "[::1]", host]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Guard)]


class _Guard:
    """Answers what the page asks for and nothing else, with headers for the browser (ASGI middleware)."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import MutableHeaders
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if is_open(scope["path"]):
            await self.app(scope, receive, send_with_headers)
        else:
            await PlainTextResponse("Not found", status_code=404)(scope, receive, send_with_headers)


def is_open(path: str) -> bool:
    """Whether a request's path is one of the page's own."""
    call = path.removeprefix("/gradio_api/")
    if call != path:
        is_file = call.startswith("file=") and "://" not in call
        return is_file or call.startswith(_CALLS) or call == "theme.css"
    return path in _PATHS or path.startswith(_FOLDERS)
