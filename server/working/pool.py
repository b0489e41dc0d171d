"""The threads that work: the event loop only reads requests and writes answers.

Work waits for a thread on the event loop, in order, where it can be given up: when its time is over, and when
its client has gone. A thread cannot be stopped; what it still does then counts until it ends, and nobody sees
it.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar

from starlette.requests import Request

from server.http.problems import ProblemError

__all__ = ["Disconnected", "Lane", "Work", "WorkPool"]

T = TypeVar("T")

Lane = Literal["search", "encode"]
"""``search``: what computes. ``encode``: what mostly waits for a model, so that queries come together
there."""

ENCODERS = 32
"""Threads that wait for models; a batch of queries cannot be larger."""


class Disconnected(Exception):
    """The client has gone: nobody will read the answer."""


class WorkPool:
    """At most ``threads`` jobs at one time, further ones wait in order; those that wait for a model have
    threads of their own. Belongs to one event loop.
    """

    def __init__(self, threads: int, *, encoders: int = ENCODERS) -> None:
        self._lanes: dict[Lane, _Lane] = {
            "search": _Lane("search", threads),
            "encode": _Lane("encode", encoders),
        }

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
        work = Work(self._lanes, request)
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
        for lane in self._lanes.values():
            lane.executor.shutdown(wait=True, cancel_futures=True)


class Work:
    """One request's way through the pool. ``waited`` is how long it waited for threads, seconds."""

    deadline: asyncio.Timeout

    def __init__(self, lanes: dict[Lane, _Lane], request: Request | None) -> None:
        self._lanes, self._request = lanes, request
        self._kept = ExitStack()
        self._watcher: asyncio.Task[None] | None = None
        self._current: asyncio.Future[Any] | None = None
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
        if self._request is not None and self._watcher is None and (lane == "encode" or chosen.is_full):
            self._watcher = asyncio.create_task(self._watch(self._request))
        future = await chosen.start(timed)
        self._current = future
        return await asyncio.shield(future)

    def end(self) -> None:
        """Stop watching, and let go of what was kept as soon as no thread uses it."""
        if self._watcher is not None:
            self._watcher.cancel()
        if self._current is None or self._current.done():
            self._kept.close()
        else:
            self._current.add_done_callback(lambda _: self._kept.close())

    async def _watch(self, request: Request) -> None:
        """The body has been read, so the next message can only say that the client has gone."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.is_abandoned = True
        self.deadline.reschedule(asyncio.get_running_loop().time())


class _Lane:
    """Some threads, and who waits for them."""

    def __init__(self, name: str, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = asyncio.Semaphore(threads)
        self.running = self.waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether the next job has to wait."""
        return self._free.locked()

    async def start(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Wait for a thread and start the job on it. The future ends when the thread does: shield it."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self.executor, contextvars.copy_context().run, job)
        except BaseException:  # the pool is closed
            self._ended()
            raise
        future.add_done_callback(lambda _: self._ended())
        return future

    def _ended(self) -> None:
        self.running -= 1
        self._free.release()
