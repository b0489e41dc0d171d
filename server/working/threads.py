"""Threads as places, and who waits for one on the event loop.

A thread cannot be stopped: what it still does when nobody wants it any more counts until it ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Started", "Threads"]

T = TypeVar("T")


class Threads:
    """Some threads, as many places, and who waits for one on the event loop."""

    def __init__(self, name: str, threads: int, executor: ThreadPoolExecutor | None = None) -> None:
        self.executor = executor or ThreadPoolExecutor(threads, thread_name_prefix=name)
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

    async def start(self, job: Callable[[], T]) -> Started[T]:
        """Wait for a place and start the job on a thread."""
        if not self.take():
            await self.place()
        return Started(self, job)

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


class Started(Generic[T]):
    """A job that has a thread. ``future`` may be cancelled, which no thread can be: the place is taken until
    ``is_over``, when ``then`` is called."""

    def __init__(self, threads: Threads, job: Callable[[], T]) -> None:
        self._threads, self._loop = threads, asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self.is_over = False
        self.then: Callable[[], None] | None = None
        try:
            running = threads.executor.submit(contextvars.copy_context().run, job)
        except BaseException:  # the pool is closed
            threads.give_back()
            raise
        running.add_done_callback(self._tell)

    def _tell(self, done: Future[T]) -> None:
        """On the thread. Cheaper than `asyncio.wrap_future` and a shield, which make a future each."""
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._end, done)

    def _end(self, done: Future[T]) -> None:
        self.is_over = True
        self._threads.pass_on()
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
