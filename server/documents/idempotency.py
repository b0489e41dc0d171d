"""Requests that may be sent twice and are done once: the header Idempotency-Key."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import RetrievalError
from server.http.problems import MEDIA_TYPE, RETRY_AFTER, ProblemError, problem_response, status_of
from server.observing.logs import make_logger
from server.store.store import Busy, Claimed, Conflict, Known, ServerStore

__all__ = ["Idempotency", "request_digest"]

HEADER = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
MAX_KEY_CHARS = 255
FINAL_ERRORS = frozenset({400, 413, 415, 422})
"""Errors that the same request would get again, whatever happens meanwhile."""

KEPT_HEADERS = ("content-type", "location")
THREADS = 2
"""The store does one thing at a time; more threads would only wait for it."""

T = TypeVar("T")
Claim: TypeAlias = Claimed | Known | Conflict | Busy


def request_digest(request: Request) -> Any:
    """A SHA-256 of all that makes a request the same but its body: update it with the body as it comes."""
    query = request.scope["query_string"].decode("latin-1")
    said = [query, *(request.headers.get(name, "") for name in ("content-type", "content-encoding"))]
    return hashlib.sha256("".join(part + "\n" for part in said).encode())


class Idempotency:
    """Does a request once for each key and principal, and sends its answer again for 24 hours.

    The answer is remembered after the work is done, in a file of its own. A process that is killed
    between the two has forgotten the request, and a retry does it again: an upsert or a delete has the
    same outcome then; of an add (mode=add) the retry says that the ids are there already; an accepted
    task (ack=task) is accepted twice. Where there is no data_dir, a restart forgets all answers.
    """

    def __init__(self, store: ServerStore, log: Any | None = None) -> None:
        self._store = store
        self._log = make_logger() if log is None else log
        self._under_way: set[asyncio.Task[Response]] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")

    async def run(
        self,
        request: Request,
        digest: str,
        make: Callable[[], Awaitable[Response]],
        *,
        target: Callable[[], str] = lambda: "",
    ) -> Response:
        """The answer of ``make``, or the one that the same request got before.

        ``target`` (called on a thread) tells apart what has had the same path at different times: the answers
        of a collection that was deleted, or went back to a snapshot, are not those of what took its place.

        ``digest`` is the hexadecimal of `request_digest` and the body. Without the header, ``make`` is
        simply called. With it, ``make`` goes on to its end even if the client goes away (so let a deadline
        cancel this, not what is inside; it may give up by itself while nothing is done yet), and its answer
        waits for the retry. 2xx answers are remembered, and errors that would come again; after any other
        one a retry is tried anew.

        Raises:
            ProblemError: 400 bad_idempotency_key; 409 idempotency_conflict or idempotency_in_progress; and
                whatever ``make`` raises.
        """
        key = _key(request)
        if key is None:
            return await make()
        scope_key, claim = await self._on_a_thread(lambda: self._claimed(request, key, target(), digest))
        if isinstance(claim, Known):
            return _replayed(claim, request)
        if isinstance(claim, Conflict):
            told = f"the Idempotency-Key '{key}' was used for another request; use a new key for each request"
            raise ProblemError(409, "idempotency_conflict", told)
        if isinstance(claim, Busy):
            told = f"the request with the Idempotency-Key '{key}' is still being done; try again soon"
            raise ProblemError(409, "idempotency_in_progress", told, headers=RETRY_AFTER)
        task = asyncio.create_task(self._settled(scope_key, make))
        self._under_way.add(task)  # the event loop alone would not keep it
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait for the requests whose clients went away; call it before the store is closed."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def close(self) -> None:
        """End its threads; after `finish`. Blocks."""
        self._threads.shutdown(wait=True)

    async def _on_a_thread(self, job: Callable[[], T]) -> T:
        """On threads of its own: it is the first thing that a write waits for."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    def _claimed(self, request: Request, key: str, target: str, digest: str) -> tuple[str, Claim]:
        scope_key = _scope_key(request, key, target)
        return scope_key, self._store.claim(scope_key, digest)

    async def _settled(self, scope_key: str, make: Callable[[], Awaitable[Response]]) -> Response:
        settled = False
        try:
            response = await make()
            settled = await self._settle(scope_key, response)
        except (ProblemError, RetrievalError) as error:
            settled = await self._settle(scope_key, _problem_answer(error))
            raise
        finally:
            if not settled:
                self._store.release(scope_key)
        return response

    async def _settle(self, scope_key: str, response: Response) -> bool:
        """Remember the answer, if it may be; whether that was done."""
        if response.status_code >= 300 and response.status_code not in FINAL_ERRORS:
            return False
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        body = bytes(response.body)
        try:
            await self._on_a_thread(
                lambda: self._store.settle(scope_key, response.status_code, body, headers)
            )
        except ProblemError as error:  # what was asked for is done: that is no reason to answer with an error
            self._log.error("an answer could not be remembered", detail=error.detail)
            return False
        return True

    def _forget(self, task: asyncio.Task[Response]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen: of a client that went away nobody else asks for it


def _key(request: Request) -> str | None:
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 1 <= len(key) <= MAX_KEY_CHARS or not all("!" <= char <= "~" for char in key):
        told = f"send one Idempotency-Key of 1 to {MAX_KEY_CHARS} visible ASCII characters, such as a UUID"
        raise ProblemError(400, "bad_idempotency_key", told)
    return key


def _scope_key(request: Request, key: str, target: str) -> str:
    """Which key this is: everybody has keys of their own, for each route and what it leads to."""
    parts = (request.state.principal.name, request.method, request.scope["path"], target, key)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _problem_answer(error: ProblemError | RetrievalError) -> Response:
    if isinstance(error, RetrievalError):
        error = ProblemError(status_of(error), error.code, str(error))
    return problem_response(error, None)


def _replayed(known: Known, request: Request) -> Response:
    body = known.body
    if known.headers.get("content-type", "").startswith(MEDIA_TYPE):
        body = json.dumps({**json.loads(body), "request_id": request.state.request_id}).encode()
    return Response(body, known.status, {**known.headers, REPLAYED: "true"})
