"""The threads that work: the event loop only reads requests and writes answers.

Work waits for a thread on the event loop, in order, where it can be given up: when its time is over, and when
its client has gone. A thread cannot be stopped; what it still does then counts until it ends, and nobody sees
it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar

from starlette.requests import Request

from server.http.problems import ProblemError
from server.working.model_thread import ModelThread
from server.working.threads import Started, Threads

__all__ = ["Disconnected", "Lane", "Work", "WorkPool", "until_gone"]

T = TypeVar("T")

Lane = Literal["search", "encode", "model", "load"]
"""``search``: what computes. ``encode``: what mostly waits for a model, so that queries come together
there; ``model``: on the model's own thread, for who finds it free. ``load``: what may take minutes, once,
before a collection can be searched in some way."""

ENCODERS = 32
"""Threads that wait for models; a batch of queries cannot be larger."""
LOADERS = 4


class Disconnected(Exception):
    """The client has gone: nobody will read the answer."""


async def until_gone(request: Request) -> None:
    """Until the client of a request whose body has been read has gone: the next message can say nothing
    else."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class WorkPool:
    """At most ``threads`` jobs at one time, further ones wait in order; those that wait for a model, or load
    what is needed once, have threads of their own. Belongs to one event loop; whoever made ``model`` closes
    it.
    """

    def __init__(self, threads: int, *, encoders: int = ENCODERS, model: ModelThread | None = None) -> None:
        self._lanes: dict[Lane, Threads] = {
            "search": Threads("search", threads),
            "encode": Threads("encode", encoders),
            "load": Threads("load", LOADERS),
        }
        self._model = model
        if model is not None:
            self._lanes["model"] = Threads("model", 1, model.executor)
        self._here = Threads("here", 1)

    async def run(
        self, job: Callable[[], T], *, timeout_ms: float | None = None, request: Request | None = None
    ) -> T:
        """Run one job; see `work`."""
        async with self.work(timeout_ms=timeout_ms, request=request) as work:
            return await work.run(job)

    @asynccontextmanager
    async def work(
        self, *, timeout_ms: float | None = None, request: Request | None = None
    ) -> AsyncIterator[Work]:
        """Jobs of one request, one after the other.

        They have ``timeout_ms`` together. Give the ``request``, once its body has been read, to stop when the
        client goes away.

        Raises:
            ProblemError: 504, the time is over; at once, whatever a thread still does.
            Disconnected: the client has gone.
        """
        work = Work(self._lanes, self._here, self._model, request)
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000) as deadline:
                work.deadline = deadline
                try:
                    yield work
                finally:
                    work.end()
        except TimeoutError:
            if work.is_abandoned:
                raise Disconnected from None
            if deadline.expired():
                told = f"not done within {timeout_ms:g} ms; ask for less, or allow more with timeout_ms"
                raise ProblemError(504, "deadline_exceeded", told) from None
            raise

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Their names."""
        return tuple(self._lanes)

    def running(self, lane: Lane) -> int:
        """Jobs that have a thread, those included whose requests were given up."""
        return self._lanes[lane].running

    def waiting(self, lane: Lane) -> int:
        """Jobs that wait for one."""
        return self._lanes[lane].waiting

    def close(self) -> None:
        """Wait for the running jobs; those that wait never begin. Blocks."""
        for name, lane in self._lanes.items():
            if name != "model":
                lane.executor.shutdown(wait=True, cancel_futures=True)


class Work:
    """One request's way through the pool. ``waited`` is how long it waited for threads, seconds."""

    deadline: asyncio.Timeout

    def __init__(
        self, lanes: dict[Lane, Threads], here: Threads, model: ModelThread | None, request: Request | None
    ) -> None:
        self._lanes, self._here, self._model, self._request = lanes, here, model, request
        self._kept = ExitStack()
        self._watcher: asyncio.Task[None] | None = None
        self._current: Started[Any] | None = None
        self._is_over = False
        self.waited = 0.0
        self.is_abandoned = False

    def enter(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that is left when the work ends, but not before its last job has: a lease, for
        example, lasts as long as a thread uses what is leased."""
        return self._kept.enter_context(context)

    async def run(self, job: Callable[[], T], lane: Lane = "search") -> T:
        """Run ``job`` on a thread, with the caller's context variables."""
        asked, chosen = time.perf_counter(), self._lanes[lane]

        def timed() -> T:
            self.waited += time.perf_counter() - asked
            return job()

        # A watcher costs a task; a short job that begins at once ends before anybody could have gone.
        is_long = lane in ("encode", "load") or chosen.is_full
        if self._request is not None and self._watcher is None and is_long:
            self._watcher = asyncio.create_task(self._watch(self._request))
        started = await chosen.start(timed)
        self._current = started
        return await started.future

    async def run_after(self, first: Callable[[], object], lane: Lane, job: Callable[[], T]) -> T:
        """Run ``first`` in its lane, then ``job`` as a search: on the same thread if one more
        may search just then, since to wake another one costs as much as a short search."""
        searching, found = self._lanes["search"], list[T]()

        def both() -> None:
            first()
            if self._is_over or not searching.take():
                return
            try:
                found.append(job())
            finally:
                searching.give_back()

        await self.run(both, lane)
        return found[0] if found else await self.run(job)

    @property
    def has_free_model(self) -> bool:
        """Whether the lane ``model`` is there and its thread has nothing to do: then a text that comes alone
        is encoded and searched there, without a thread that waits for another one."""
        return self._model is not None and not (self._model.is_wanted or self._lanes["model"].is_full)

    async def run_here(self, job: Callable[[], T]) -> T:
        """Run ``job`` on the event loop, where everything waits for it: for what is shorter than waking a
        thread. Between two of them the loop looks at its connections."""
        asked = time.perf_counter()
        if not self._here.take():
            await self._here.place()
        self.waited += time.perf_counter() - asked
        try:
            return job()
        finally:
            asyncio.get_running_loop().call_soon(self._here.pass_on)

    def end(self) -> None:
        """Stop watching, and let go of what was kept as soon as no thread uses it."""
        self._is_over = True
        if self._watcher is not None:
            self._watcher.cancel()
        if self._current is None or self._current.is_over:
            self._kept.close()
        else:
            self._current.then = self._kept.close

    async def _watch(self, request: Request) -> None:
        await until_gone(request)
        self.is_abandoned = True
        self.deadline.reschedule(asyncio.get_running_loop().time())
