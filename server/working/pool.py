"""The threads that work: the event loop only reads requests and writes answers.

Work waits for a thread on the event loop, in order, where it can be given up: when its time is over, and when
its client has gone. A thread cannot be stopped; what it still does then counts until it ends, and nobody sees
it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from typing import Any, Generic, Literal, TypeVar

from starlette.requests import Request

from server.http.problems import ProblemError

__all__ = ["Disconnected", "Lane", "Work", "WorkPool"]

T = TypeVar("T")

Lane = Literal["search", "encode", "load"]
"""``search``: what computes. ``encode``: what mostly waits for a model, so that queries come together
there. ``load``: what may take minutes, once, before a collection can be searched in some way."""

ENCODERS = 32
"""Threads that wait for models; a batch of queries cannot be larger."""
LOADERS = 4


class Disconnected(Exception):
    """The client has gone: nobody will read the answer."""


class WorkPool:
    """At most ``threads`` jobs at one time, further ones wait in order; those that wait for a model, or load
    what is needed once, have threads of their own. Belongs to one event loop.
    """

    def __init__(self, threads: int, *, encoders: int = ENCODERS) -> None:
        self._lanes: dict[Lane, _Lane] = {
            "search": _Lane("search", threads),
            "encode": _Lane("encode", encoders),
            "load": _Lane("load", LOADERS),
        }
        self._here = _Lane("here", 1)

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
        work = Work(self._lanes, self._here, request)
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

    def __init__(self, lanes: dict[Lane, _Lane], here: _Lane, request: Request | None) -> None:
        self._lanes, self._here, self._request = lanes, here, request
        self._kept = ExitStack()
        self._watcher: asyncio.Task[None] | None = None
        self._current: _Started[Any] | None = None
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
        if self._request is not None and self._watcher is None and (lane != "search" or chosen.is_full):
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
        """The body has been read, so the next message can only say that the client has gone."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.is_abandoned = True
        self.deadline.reschedule(asyncio.get_running_loop().time())


class _Lane:
    """Some threads, as many places, and who waits for one on the event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places, self._lock = threads, threading.Lock()
        self._queue: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether the next job has to wait."""
        return bool(self._queue) or self.running >= self._places

    def take(self) -> bool:
        """Have a place, if nobody has to wait for it. Any thread may call."""
        with self._lock:
            if self.is_full:
                return False
            self.running += 1
            return True

    def give_back(self) -> None:
        """Have a place no longer. Any thread may call."""
        with self._lock:
            if not self._queue:
                self.running -= 1
                return
            loop = self._queue[0].get_loop()
        with suppress(RuntimeError):  # the loop has ended, and with it all who waited
            loop.call_soon_threadsafe(self.pass_on)

    def pass_on(self) -> None:
        """Have a place no longer, on the event loop: who has waited longest has it."""
        with self._lock:
            while self._queue:
                following = self._queue.popleft()
                if not following.done():
                    following.set_result(None)
                    return
            self.running -= 1

    async def start(self, job: Callable[[], T]) -> _Started[T]:
        """Wait for a place and start the job on a thread."""
        if not self.take():
            await self.place()
        return _Started(self, job)

    async def place(self) -> None:
        """Wait for a place; who is cancelled has none."""
        mine = asyncio.get_running_loop().create_future()
        with self._lock:
            if not self.is_full:  # one has been given back just now
                self.running += 1
                return
            self._queue.append(mine)
        try:
            await mine
        except BaseException:
            if mine.cancelled():
                with self._lock, suppress(ValueError):
                    self._queue.remove(mine)
            else:  # it had come
                self.give_back()
            raise


class _Started(Generic[T]):
    """A job that has a thread. ``future`` may be cancelled, which no thread can be: the place is taken until
    ``is_over``, when ``then`` is called."""

    def __init__(self, lane: _Lane, job: Callable[[], T]) -> None:
        self._lane, self._loop = lane, asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self.is_over = False
        self.then: Callable[[], None] | None = None
        try:
            running = lane.executor.submit(contextvars.copy_context().run, job)
        except BaseException:  # the pool is closed
            lane.give_back()
            raise
        running.add_done_callback(self._tell)

    def _tell(self, done: Future[T]) -> None:
        """On the thread. Cheaper than `asyncio.wrap_future` and a shield, which make a future each."""
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._end, done)

    def _end(self, done: Future[T]) -> None:
        self.is_over = True
        self._lane.pass_on()
        if done.cancelled():  # the pool was closed before it began
            self.future.cancel()
        elif not self.future.done():
            error = done.exception()
            if error is None:
                self.future.set_result(done.result())
            else:
                self.future.set_exception(_raisable(error))
        if self.then is not None:
            self.then()


def _raisable(error: BaseException) -> BaseException:
    """What a future takes in place of ``error``: it refuses StopIteration, and somebody waits for it."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("a job raised StopIteration")
    raised.__cause__ = error
    return raised
