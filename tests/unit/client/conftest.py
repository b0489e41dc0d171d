from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from retrieval.client import AsyncClient, Client
from retrieval.client.transport import AsyncSession, Session
from tests.unit.client.service import KEY, URL, Awaited, Service


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits; how long they would have."""
    waited: list[float] = []

    async def pause(session: AsyncSession, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(Session, "pause", lambda session, seconds: waited.append(seconds))
    monkeypatch.setattr(AsyncSession, "pause", pause)
    return waited


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, service: Service, pauses: list[float]) -> Iterator[Any]:
    transport = httpx.MockTransport(service)
    if request.param == "sync":
        with httpx.Client(transport=transport) as http, Client(URL, key=KEY, http=http) as client:
            yield client
        return
    with asyncio.Runner() as runner:

        async def receive(asked: httpx.Request) -> httpx.Response:
            await asked.aread()
            return service(asked)

        http_async = httpx.AsyncClient(transport=httpx.MockTransport(receive))
        yield Awaited(AsyncClient(URL, key=KEY, http=http_async), runner)
        runner.run(http_async.aclose())


@pytest.fixture
def engine(client: Any) -> Any:
    return client.collection("papers")
