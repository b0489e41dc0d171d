"""The life of a server process: it listens, serves, and when it is told to stop, ends what it has begun.

On SIGTERM or SIGINT, in this order:

1. ``/readyz`` says 503 and streams of events end. For a grace it serves on, new connections too, so that
   whoever sends it requests can see that and go elsewhere. Every answer now closes its connection.
2. It stops listening. Connections that were made before that are still served.
3. Requests in flight have until ``drain_seconds`` after the signal. Then the application ends: tasks are told
   to stop and have as long again, indexes are closed.

A second signal ends the process at once; indexes and the server's own store survive that, as they survive
any kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits

from retrieval import Encoder
from retrieval.errors import ConfigError
from server.app import create_app, open_store
from server.context import AppContext
from server.listening import listen, refuse_new
from server.observing.logs import make_logger, uvicorn_log_config
from server.settings import ServerSettings

__all__ = ["Process", "connection_of", "run"]

LINGER_SECONDS = 1.0
"""How long after the grace a connection may be quiet before it is closed: its request may be on the way."""
END_SECONDS = 5.0
"""How much longer than ``drain_seconds`` the application may take to end."""
SETTLE_SECONDS = 0.1
"""How long connections may take that were being made when no new ones were begun any more."""
CLOSE = (b"connection", b"close")
STEP_SECONDS = 0.02
EXIT_STUCK = 1


def run(settings: ServerSettings, *, encoders: Mapping[str, Encoder] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. ``encoders``: as in `server.app.create_app`.

    Raises:
        ConfigError: settings that cannot work, a port that is taken.
    """
    sockets = listen(settings.host, settings.port)
    # One search is one thread; a BLAS that divides its products among all cores takes those of other
    # searches, and its idle threads spin.
    threadpool_limits(1, user_api="blas")
    try:
        # First, for it refuses a data_dir that is not there: opening the store would make the folder.
        app = create_app(settings, encoders=encoders)
        open_store(settings).close()  # what is wrong with it is told now, in a sentence
        Process(_config(app, settings), app, settings).run(sockets=sockets)
    finally:
        for each in sockets:
            each.close()


def _config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    """Loaded, so that a certificate that cannot be read is known before anything else happens.

    Raises:
        ConfigError: such a certificate.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    config = uvicorn.Config(
        app,
        loop="asyncio" if find_spec("uvloop") is None else "uvloop",  # there is none for Windows
        http=connection_of(app),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who a proxy says is asking
        log_config=uvicorn_log_config(),
        ssl_certfile=None if certificate is None else certificate.expanduser(),
        ssl_keyfile=None if key is None else key.expanduser(),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"server settings tls_certificate={certificate} and tls_key={key} cannot be used: {error}; "
            "they are a certificate chain and its unencrypted private key, both PEM"
        ) from None
    return config


def _absolute(folder: Path | None) -> str | None:
    return None if folder is None else str(folder.expanduser().absolute())


def connection_of(app: FastAPI) -> Any:
    """What uvicorn is to make of a connection to ``app``: a `Door`, where httptools is installed."""
    if find_spec("httptools") is None:
        from server.working.plain_door import PlainDoor

        return partial(PlainDoor, app=app)
    from server.working.door import Door

    return partial(Door, app=app)


class Process(uvicorn.Server):
    """A server that drains."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: ServerSettings) -> None:
        super().__init__(config)
        self._app, self._settings = app, settings
        self._log = make_logger()
        self._late: list[asyncio.Task[Any]] = []
        self._settling: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come. It is not raised again when the server has ended: that is a success."""
        del frame
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        context = self._context
        self._settling = asyncio.create_task(_settle(context))
        scheme = "https" if self.config.ssl else "http"
        self._log.info(
            "serving",
            addresses=[f"{scheme}://{_shown(each.getsockname())}" for each in sockets or ()],
            keys=len(self._settings.all_keys),
            read_only=self._settings.read_only,
            # Absolute: an empty list with a wrong folder beside it explains itself.
            data_dir=_absolute(self._settings.data_dir),
            collections=[each.name for each in context.registry.all()],
        )

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second. It makes a new list of headers each second, and an answer
        takes them from the list that there was when its request came: kept as one, what is added to it when
        we drain reaches those in flight too."""
        kept = self.server_state.default_headers
        ends = await super().on_tick(counter)
        if self.server_state.default_headers is not kept:
            kept[:] = self.server_state.default_headers
            self.server_state.default_headers = kept
        return ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then end as uvicorn does: what is then still in flight is cut off."""
        until = time.monotonic() + self._settings.drain_seconds
        self._begin_draining()
        if self._settling is not None:
            self._settling.cancel()
        await asyncio.sleep(min(self._settings.drain_grace_seconds, self._settings.drain_seconds))
        await self._stop_listening(sockets or [])
        await self._quiet(min(time.monotonic() + LINGER_SECONDS, until))
        # uvicorn closes connections that wait for a request, and waits for those that have one.
        self.config.timeout_graceful_shutdown = max(0, until - time.monotonic())  # type: ignore[assignment]
        # Threads cannot be stopped: one that is stuck must not keep the process for ever.
        limit = threading.Timer(
            until - time.monotonic() + self._settings.drain_seconds + END_SECONDS, self._give_up
        )
        limit.daemon = True
        limit.start()
        try:
            await super().shutdown(sockets)
        finally:
            limit.cancel()
        self._log.info("stopped")

    def _give_up(self) -> None:
        self._log.error("ended with work undone: a thread did not stop")
        os._exit(EXIT_STUCK)

    @property
    def _context(self) -> AppContext:
        context: AppContext = self._app.state.context
        return context

    def _begin_draining(self) -> None:
        context = self._context
        context.draining = True
        context.tasks.drain()
        # A client that keeps a connection open could send a request just as we close it. So it is told with
        # each answer to make a new one, which will fail before anything has been sent.
        self.server_state.default_headers.append(CLOSE)
        self._log.info("draining", in_flight=len(self.server_state.tasks))

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Close the sockets, but take the connections that clients think they have: those that the system has
        made and asyncio has not come to would be reset."""
        for each in sockets:
            refuse_new(each)
        await asyncio.sleep(SETTLE_SECONDS)
        loop = asyncio.get_running_loop()
        for each in sockets:
            with contextlib.suppress(OSError):  # BlockingIOError: there are no more
                while True:
                    connection, _ = each.accept()
                    self._late.append(loop.create_task(self._serve_late(connection)))
        for server in self.servers:
            server.close()

    async def _serve_late(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # its client has gone, or fails at TLS
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=self.config.ssl
            )

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _quiet(self, until: float) -> None:
        """Until there are no connections."""
        while time.monotonic() < until:
            if not self.server_state.connections and all(task.done() for task in self._late):
                return
            await asyncio.sleep(STEP_SECONDS)


async def _settle(context: AppContext) -> None:
    """Once all is loaded: what there is then will stay, and to look for garbage among it stops all threads
    for a quarter of a second, again and again."""
    while any(each.state == "loading" for each in context.registry.all()):
        await asyncio.sleep(STEP_SECONDS)
    gc.freeze()


def _shown(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
