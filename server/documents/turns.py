"""Who may write to a collection: one at a time, in the order in which they came.

The engine has a lock of its own, but whoever waits for that holds a thread. Requests wait here on the event
loop and hold none; tasks have threads to wait with, and look meanwhile whether they shall stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

__all__ = ["Turns"]

STEP_SECONDS = 0.1
"""How often a task that waits looks whether it shall stop."""

Wake = Callable[[], object]


class Turns:
    """The lines of writers, one a collection. Any thread and any event loop may wait in them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, deque[Wake]] = {}

    @asynccontextmanager
    async def of_request(self, collection: str) -> AsyncIterator[None]:
        """Wait without a thread; have the turn inside."""
        loop, come = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(come.set)

        self._join(collection, wake)
        try:
            await come.wait()
            yield
        finally:
            self._leave(collection, wake)

    @contextmanager
    def of_task(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """Wait on this thread; have the turn inside. ``check`` raises where the task shall stop."""
        come = threading.Event()
        wake = come.set
        self._join(collection, wake)
        try:
            while not come.wait(STEP_SECONDS):
                check()
            yield
        finally:
            self._leave(collection, wake)

    def waiting(self, collection: str) -> int:
        """How many stand in line, the one whose turn it is included."""
        with self._lock:
            return len(self._lines.get(collection, ()))

    def _join(self, collection: str, wake: Wake) -> None:
        with self._lock:
            line = self._lines.setdefault(collection, deque())
            line.append(wake)
            is_first = len(line) == 1
        if is_first:
            wake()

    def _leave(self, collection: str, wake: Wake) -> None:
        with self._lock:
            line = self._lines[collection]
            had_the_turn = line[0] is wake
            line.remove(wake)
            following = line[0] if line and had_the_turn else None
            if not line:
                del self._lines[collection]
        if following is not None:
            following()
