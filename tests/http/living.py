"""A real server on a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import uvicorn
from fastapi import FastAPI

from server.process import connection_of


@contextmanager
def listening(app: FastAPI) -> Iterator[int]:
    """The port it listens on, once everything is loaded."""
    config = uvicorn.Config(
        app, port=0, http=connection_of(app), log_config=None, access_log=False, server_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        port = _port(server)
        _until_ready(port)
        yield port
    finally:
        server.should_exit = True
        thread.join(60)


def _port(server: uvicorn.Server) -> int:
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "it does not listen"
        time.sleep(0.01)
    return int(server.servers[0].sockets[0].getsockname()[1])


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + 200  # kernels may have to be compiled
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/readyz")
        ready = connection.getresponse().status == 200
        connection.close()
        if ready:
            return
        assert time.monotonic() < deadline, "it is not ready"
        time.sleep(0.02)
