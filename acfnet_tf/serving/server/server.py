"""Starts and stops the embedded server: one event loop in a thread of its own, for REST, gRPC and new versions."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import grpc
from aiohttp import web

from acfnet_tf.config import ServeConfig
from acfnet_tf.errors import UserError
from acfnet_tf.serving.server.core import MIB, Core
from acfnet_tf.serving.server.grpc_service import GrpcService
from acfnet_tf.serving.server.rest import answer
from acfnet_tf.serving.server.versions import Versions
from acfnet_tf.signals import Interruption


class Server:
    """TF Serving's REST and gRPC for one model, without Docker: for development and tests.

    Args:
        model_dir: …/NAME with a folder for each version, as --mode=export writes it.
        config: addresses and limits; port 0 is any free one.
        name: the model's name in requests; without it the folder's.

    Attributes:
        rest_address: "http://127.0.0.1:PORT", from `start` on.
        grpc_address: "127.0.0.1:PORT", from `start` on.

    Example:
        >>> with Server("runs/acf_aspp/export/acf_aspp", ServeConfig(rest_port=0, grpc_port=0)) as server:
        ...     print(server.rest_address)
    """

    def __init__(self, model_dir: str | Path, config: ServeConfig, name: str | None = None) -> None:
        self.name = name or Path(model_dir).resolve().name
        self.rest_address = self.grpc_address = ""
        self._config = config
        self._versions = Versions(Path(model_dir), self.name, config.max_request_mib * MIB)
        self._started: Future[None] = Future()
        self._stop: Future[float] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="server", daemon=True)

    def start(self) -> None:
        """Returns when a version serves and both ports listen. A server starts once.

        Raises:
            UserError: no version can be loaded, or a port is taken.
        """
        self._thread.start()
        self._started.result()

    def stop(self, grace: float = 30.0) -> None:
        """Takes no new requests, finishes those that run, and returns when all is closed.

        Args:
            grace: seconds after which requests are given up.
        """
        if not self._stop.done():
            self._stop.set_result(grace)
        self._thread.join()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _run(self) -> None:
        """The server's life. What goes wrong before it serves is told to `start`."""
        core = Core(self._versions, self._config)
        rest, rpc = _rest_server(core), _grpc_server(core, self._config)
        grace = 0.0
        try:
            await asyncio.to_thread(self._versions.poll)
            if self._versions.current is None:
                raise UserError(_no_version(self._versions))
            host = self._config.host
            await rest.setup()
            with _listening(self._config, "rest_port"):
                await web.TCPSite(rest, host, self._config.rest_port).start()
            reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # for clients on this machine
            self.rest_address = f"http://{_address(reachable, rest.addresses[0][1])}"
            with _listening(self._config, "grpc_port"):
                port = rpc.add_insecure_port(_address(host, self._config.grpc_port))
            await rpc.start()
            self.grpc_address = _address(reachable, port)
            self._started.set_result(None)
            watching = asyncio.create_task(self._watch())
            grace = await asyncio.wrap_future(self._stop)
            watching.cancel()
        except Exception as error:
            self._started.set_exception(error)
        await asyncio.wait(
            [asyncio.create_task(rest.cleanup()), asyncio.create_task(rpc.stop(grace))], timeout=grace + 1
        )
        core.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._config.poll_seconds)
            with contextlib.suppress(OSError):  # a folder that goes away while it is looked at
                await asyncio.to_thread(self._versions.poll)


def serve(model_dir: str | Path, config: ServeConfig, name: str | None = None) -> None:
    """Serves until SIGINT or SIGTERM; a second signal ends it at once. Arguments and errors are `Server`'s."""
    with Interruption("finishing the requests that run") as interruption, Server(model_dir, config, name) as server:
        print(_greeting(server), flush=True)
        interruption.wait()


def _rest_server(core: Core) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", functools.partial(answer, core))
    # What is no HTTP at all is answered, but is not worth a stack trace.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # A client that goes away frees its place in the queue.
    return web.AppRunner(app, handler_cancellation=True, auto_decompress=False, access_log=None)


def _grpc_server(core: Core, config: ServeConfig) -> grpc.aio.Server:
    options = {
        "grpc.max_receive_message_length": config.max_request_mib * MIB,
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": 0,  # else a second server on the same port would get half of the requests
    }
    server = grpc.aio.server(options=list(options.items()))
    GrpcService(core, max_reading=config.max_waiting_mib // config.max_request_mib).add_to(server)
    return server


@contextlib.contextmanager
def _listening(config: ServeConfig, setting: str) -> Iterator[None]:
    """Turns a port that cannot be had into one line that names its setting."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"serve.{setting} = {getattr(config, setting)}: cannot listen there on {config.host}. Another program may"
            " be using it: choose another port, or 0 for a free one."
        ) from error


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_version(versions: Versions) -> str:
    if not versions.states:
        return f"{versions.model_dir}: no version to serve. Expected folders 1, 2, … as --mode=export writes them."
    problems = "; ".join(f"version {version}: {state.problem}" for version, state in versions.states.items())
    return f"{versions.model_dir}: no version can be loaded ({problems}). Export the model again."


def _greeting(server: Server) -> str:
    url = f"{server.rest_address}/v1/models/{server.name}"
    body = r"""'{"inputs": [{"b64": "'"$(base64 -w0 IMAGE.png)"'"}]}'"""
    return (
        f"Serving {server.name}. REST: {url}   gRPC: {server.grpc_address}\n"
        f"Try:  echo {body} | curl -d @- {url}:predict\n"
        "This server is for development and tests. For production use tensorflow/serving: see docs/deployment.md."
    )
