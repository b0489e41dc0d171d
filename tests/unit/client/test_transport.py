"""Addresses, keys, and what is closed when."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from retrieval.client import (
    AsyncClient,
    AsyncRemoteEngine,
    Client,
    ConnectionFailedError,
    RemoteEngine,
    RemoteError,
)
from retrieval.errors import ConfigError, MissingExtraError
from tests.unit.client.service import KEY, Service, answer, problem


@pytest.fixture(autouse=True)
def no_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETRIEVAL_API_KEY", raising=False)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8080", "ftp://host", "http://", "http:///x", "http://host?x=1", "http://host#x", "host"],
)
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(ConfigError, match="give an address such as http"):
        Client(url)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="give the key as key=") as caught:
        Client("http://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "a b", "ab\n", "schlüssel", "a\x00"])
def test_a_key_that_no_header_holds_is_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match="copy it") as caught:
        Client(key=key)
    assert not key.strip() or key not in str(caught.value)


def asked_with(service: Service, **options: Any) -> httpx.Headers:
    service.on("GET /models", answer({"data": []}))
    with httpx.Client(transport=httpx.MockTransport(service)) as http, Client(http=http, **options) as client:
        client.models()
    return service.last.headers


def test_the_key_comes_from_the_environment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "authorization" not in asked_with(service)
    monkeypatch.setenv("RETRIEVAL_API_KEY", "rk_around")
    assert asked_with(service)["authorization"] == "Bearer rk_around"
    assert asked_with(service, key="rk_given")["authorization"] == "Bearer rk_given"
    monkeypatch.setenv("RETRIEVAL_API_KEY", "")
    assert "authorization" not in asked_with(service)


def test_the_key_is_nowhere_to_be_seen(
    service: Service, caplog: pytest.LogCaptureFixture, pauses: list[float]
) -> None:
    caplog.set_level(logging.DEBUG)
    service.on(
        "GET /models", problem(403, "forbidden"), httpx.ReadError("reset"), problem(401, "unauthorized")
    )
    with httpx.Client(transport=httpx.MockTransport(service)) as http, Client(key=KEY, http=http) as client:
        seen = [repr(client), repr(client.collection("papers")), repr(client._session.target)]
        for _ in range(2):
            with pytest.raises(RemoteError) as caught:
                client.models()
            seen += traceback.format_exception(caught.value)
            seen.append(repr(vars(caught.value)))
    assert service.last.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(seen) + caplog.text


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for make in (Client, AsyncClient):
        with pytest.raises(MissingExtraError, match="'client'"):
            make()


def test_a_closed_client_says_so() -> None:
    client = Client("http://127.0.0.1:9")
    client.close()
    with pytest.raises(RemoteError, match="closed; make a new one"):
        client.models()


def test_what_is_given_stays_open(service: Service) -> None:
    service.on("GET /models", answer({"data": []}))
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        with Client(http=http) as client:
            client.collection("papers").close()
            client.models()
        assert not http.is_closed


class Handler(BaseHTTPRequestHandler):
    """A real socket: counts documents, and says how it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, sent))  # type: ignore[attr-defined]
        body = b'{"count": 41, "generation": 2}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_over_a_socket(server: Any) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    with Client(url) as client:
        assert client.collection("papers").count() == 41
    with RemoteEngine.open(url, "papers") as engine:
        assert len(engine) == 41
    with pytest.raises(RemoteError, match="closed"):
        engine.count()

    async def ask() -> int:
        async with AsyncClient(url) as client, AsyncRemoteEngine.open(url, "papers") as engine:
            counts = [client.collection("papers").count() for _ in range(8)]
            return sum(await asyncio.gather(*counts, engine.count()))

    assert asyncio.run(ask()) == 9 * 41
    assert set(server.seen) == {("/v1/collections/papers/documents/count", b"{}")}


def test_nobody_there(pauses: list[float]) -> None:
    with Client("http://127.0.0.1:9", retries=1) as client, pytest.raises(ConnectionFailedError) as caught:
        client.models()
    assert "no connection" in str(caught.value) and "http://127.0.0.1:9" in str(caught.value)
    assert len(pauses) == 1


def whole(body: bytes, cut: int | None = None) -> bytes:
    """An answer; of its body no more than ``cut`` bytes."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:cut]


COUNT, FLUSHED = b'{"count": 41, "generation": 2}', b'{"documents": 3, "generation": 2}'


class Scripted(threading.Thread):
    """A socket that takes one connection after the other. Each gets its answers, one a request (an empty one
    is none), and is closed then; ``closed`` says that the first one is."""

    def __init__(self, *connections: list[bytes]) -> None:
        super().__init__()
        self._connections, self.requests, self.closed = connections, 0, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        for answers in self._connections:
            connection, _ = self._listening.accept()
            with connection, connection.makefile("rb") as asked:
                for content in answers:
                    head = list(iter(asked.readline, b"\r\n"))
                    asked.read(
                        next(int(line[15:]) for line in head if line.lower().startswith(b"content-length:"))
                    )
                    self.requests += 1
                    connection.sendall(content)
            self.closed.set()

    def __enter__(self) -> Scripted:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(30)
        self._listening.close()


def test_a_connection_that_was_closed_meanwhile_is_not_used_again(pauses: list[float]) -> None:
    with Scripted([whole(COUNT)], [whole(FLUSHED)]) as server, Client(server.url) as client:
        papers = client.collection("papers")
        assert papers.count() == 41 and server.closed.wait(30)
        assert papers.flush() == 3  # which is never sent twice
    assert pauses == [] and server.requests == 2


def test_a_connection_that_was_closed_meanwhile_is_not_used_again_async(pauses: list[float]) -> None:
    async def ask(url: str, closed: threading.Event) -> tuple[int, int]:
        async with AsyncClient(url) as client:
            papers = client.collection("papers")
            counted = await papers.count()
            assert await asyncio.to_thread(closed.wait, 30)
            return counted, await papers.flush()

    with Scripted([whole(COUNT)], [whole(FLUSHED)]) as server:
        assert asyncio.run(ask(server.url, server.closed)) == (41, 3)
    assert pauses == [] and server.requests == 2


@pytest.mark.parametrize("broken", [b"", whole(COUNT, 5)], ids=["no answer", "half an answer"])
def test_what_broke_is_asked_once_more_if_that_does_no_harm(pauses: list[float], broken: bytes) -> None:
    with Scripted([whole(COUNT), broken], [whole(COUNT)]) as server, Client(server.url) as client:
        assert [client.collection("papers").count() for _ in range(2)] == [41, 41]
    assert len(pauses) == 1 and server.requests == 3
    with Scripted([whole(COUNT), broken]) as server, Client(server.url) as client:
        papers = client.collection("papers")
        papers.count()
        with pytest.raises(ConnectionFailedError, match="the connection broke") as caught:
            papers.flush()
    assert caught.value.sent and len(pauses) == 1 and server.requests == 2
