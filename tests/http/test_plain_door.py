"""Connections where httptools is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.server import ServerState

from server import process
from server.working.plain_door import PlainDoor

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
SECONDS = 0.1


async def application(scope, receive, send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def connected(talk: Callable):
    """What ``talk(reader, writer)`` returns, where a head may take `SECONDS`."""

    async def run():
        config = uvicorn.Config(application, http="h11", log_config=None, access_log=False, ws="none")
        config.load()
        app = SimpleNamespace(state=SimpleNamespace(head_seconds=SECONDS))
        made = partial(PlainDoor, app=app, config=config, server_state=ServerState(), app_state={})
        async with await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                async with asyncio.timeout(30):
                    return await talk(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    return asyncio.run(run())


@pytest.mark.parametrize("begun", [b"", HEAD[:20], HEAD + b"1234" + HEAD[:20], HEAD + b"1234\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(begun):
    async def talk(reader, writer):
        writer.write(begun)
        told = await reader.readuntil(b"ok") if HEAD in begun else b""
        if told:
            writer.write(b"\r\n" if begun.endswith(b"\r\n") else b"C")  # and with it uvicorn's clock stops
        return told + await reader.read()

    assert connected(talk).count(b"200 OK") == (HEAD in begun)


def test_a_body_may_take_its_time():
    async def talk(reader, writer):
        writer.write(HEAD)
        await asyncio.sleep(3 * SECONDS)
        writer.write(b"1234")
        return await reader.readuntil(b"ok")

    assert b"200 OK" in connected(talk)


def test_it_stands_in_where_httptools_is_missing(monkeypatch):
    app = SimpleNamespace()
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    assert process.connection_of(app).func is PlainDoor
