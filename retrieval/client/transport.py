"""The two sessions that carry calls over the network: the only place that waits, sends and sleeps."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from retrieval.client.errors import ConnectionFailedError, RemoteError
from retrieval.client.exchange import Call, Pause, Reply
from retrieval.client.retrying import Attempt, Patience, persistently
from retrieval.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncSession", "Session"]

KEY_VARIABLE = "RETRIEVAL_API_KEY"
CHUNK = 1 << 16

T = TypeVar("T")


def httpx_module() -> ModuleType:
    """The package that speaks HTTP, imported when a client is made.

    Raises:
        MissingExtraError: the extra ``client`` is not installed.
    """
    try:
        import httpx
    except ImportError:
        raise MissingExtraError("the client", "client") from None
    return httpx


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service is, and the key for it. The key is in no ``repr`` and no message."""

    url: str
    key: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str, key: str | None) -> Target:
        """A checked target; without a key the one in ``RETRIEVAL_API_KEY``, if there is one.

        Raises:
            ConfigError: no http or https address, one with a password in it, or a key that no header holds.
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ConfigError("the url holds a user or password; give the key as key=... instead")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"url={url!r}: give an address such as http://127.0.0.1:8080")
        key = key if key is not None else os.environ.get(KEY_VARIABLE) or None
        if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
            raise ConfigError("the key is empty or has characters that no key has; copy it without blanks")
        return cls(url.rstrip("/"), key)

    def request(self, http: Any, attempt: Attempt, content: Any) -> Any:
        """The request as a value of the HTTP package."""
        asked = attempt.request
        headers = {"accept": "application/json", "user-agent": "retrieval-client", **asked.headers}
        if asked.content_type is not None:
            headers["content-type"] = asked.content_type
        if asked.content is not None and not isinstance(asked.content, bytes):
            headers["content-length"] = str(asked.content.seek(0, os.SEEK_END))
            asked.content.seek(0)
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        return http.build_request(
            asked.method,
            f"{self.url}/{asked.path}",
            params=dict(asked.params) or None,
            content=content,
            headers=headers,
            timeout=attempt.seconds,
        )

    def failure(self, error: Exception, attempt: Attempt, httpx: ModuleType) -> ConnectionFailedError:
        """What went wrong on the way, in a sentence that says what to do."""
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
        what = f"{attempt.request.name} at {self.url}"
        if isinstance(error, unsent):
            told = f"{what}: no connection ({_reason(error)}); start the server there, or give another url"
        elif isinstance(error, httpx.TimeoutException):
            told = f"{what}: no answer in time; give a larger timeout_s, or ask for less at once"
        else:
            told = f"{what}: the connection broke ({_reason(error)}); see whether the server still runs"
        return ConnectionFailedError(told, sent=not isinstance(error, unsent))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _start_over(sink: BinaryIO) -> None:
    """Forget what an attempt before this one has written."""
    sink.seek(0)
    sink.truncate()


def _reply(attempt: Attempt, response: Any) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    content = b"" if attempt.request.sink is not None and response.is_success else response.content
    return Reply(attempt.request, response.status_code, headers, content)


def _check_open(http: Any) -> None:
    if http.is_closed:
        raise RemoteError("the client is closed; make a new one", code="closed")


class Session:
    """Drives calls over a blocking HTTP client. Safe to share between threads."""

    def __init__(
        self, url: str, key: str | None, timeout_s: float, retries: int, http: httpx.Client | None = None
    ) -> None:
        self.target, self._patience = Target.of(url, key), Patience(timeout_s, retries)
        self._httpx = httpx_module()
        self._http, self._owns_http = http or self._httpx.Client(), http is None

    def run(self, call: Call[T]) -> T:
        """Everything a call asks for, and its result."""
        steps = persistently(call, self._patience)
        try:
            step = next(steps)
            while True:
                try:
                    reply = self._do(step)
                except ConnectionFailedError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as stop:
            return cast(T, stop.value)
        finally:
            steps.close()

    def _do(self, step: Attempt | Pause) -> Reply | None:
        if isinstance(step, Pause):
            self.pause(step.seconds)
            return None
        _check_open(self._http)
        content = step.request.content
        sent = content if isinstance(content, bytes | None) else _chunks(content)
        request = self.target.request(self._http, step, sent)
        try:
            response = self._http.send(request, stream=True, follow_redirects=False)
            try:
                self._receive(response, step)
                return _reply(step, response)
            finally:
                response.close()
        except self._httpx.HTTPError as error:
            raise self.target.failure(error, step, self._httpx) from None

    def _receive(self, response: httpx.Response, attempt: Attempt) -> None:
        sink = attempt.request.sink
        if sink is None or not response.is_success:
            response.read()
            return
        _start_over(sink)
        for chunk in response.iter_bytes(CHUNK):
            sink.write(chunk)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._owns_http:
            self._http.close()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


class AsyncSession:
    """Drives calls over an asyncio HTTP client, from one event loop."""

    def __init__(
        self, url: str, key: str | None, timeout_s: float, retries: int, http: httpx.AsyncClient | None = None
    ) -> None:
        self.target, self._patience = Target.of(url, key), Patience(timeout_s, retries)
        self._httpx = httpx_module()
        self._http, self._owns_http = http or self._httpx.AsyncClient(), http is None

    async def run(self, call: Call[T]) -> T:
        """Everything a call asks for, and its result."""
        steps = persistently(call, self._patience)
        try:
            step = next(steps)
            while True:
                try:
                    reply = await self._do(step)
                except ConnectionFailedError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as stop:
            return cast(T, stop.value)
        finally:
            steps.close()

    async def _do(self, step: Attempt | Pause) -> Reply | None:
        if isinstance(step, Pause):
            await self.pause(step.seconds)
            return None
        _check_open(self._http)
        content = step.request.content
        sent = content if isinstance(content, bytes | None) else _chunks_async(content)
        request = self.target.request(self._http, step, sent)
        try:
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                await self._receive(response, step)
                return _reply(step, response)
            finally:
                await response.aclose()
        except self._httpx.HTTPError as error:
            raise self.target.failure(error, step, self._httpx) from None

    async def _receive(self, response: httpx.Response, attempt: Attempt) -> None:
        sink = attempt.request.sink
        if sink is None or not response.is_success:
            await response.aread()
            return
        _start_over(sink)
        async for chunk in response.aiter_bytes(CHUNK):
            await asyncio.to_thread(sink.write, chunk)

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._owns_http:
            await self._http.aclose()


async def _chunks_async(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK):
        yield chunk
