"""Who may write to a collection: one at a time, in the order in which they came.

The engine has a lock of its own, but whoever waits for that holds a thread. Requests wait here on the event
loop and hold none, but each holds a place among the writes in flight. A task that has the turn may take
minutes: so that it does not keep other collections from being written to, the requests that wait for one
collection have a share of those places, and one more is refused. Tasks have threads to wait with, and look
meanwhile whether they shall stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from starlette.requests import Request

from server.working.pool import Disconnected, until_gone

__all__ = ["LineFull", "Turns"]

STEP_SECONDS = 0.1
"""How often a task that waits looks whether it shall stop."""


class LineFull(Exception):
    """As many requests wait for a turn as may. ``task`` is what they wait for, if it is a task."""

    def __init__(self, waiting: int, task: str | None) -> None:
        super().__init__(f"{waiting} requests wait")
        self.waiting, self.task = waiting, task


@dataclass(slots=True, eq=False)
class _Place:
    """A place in a line, and how to tell whoever has it that it is the first. ``task`` is its id; None: a
    request."""

    wake: Callable[[], object]
    task: str | None = None


class Turns:
    """The lines of writers, one a collection. Any thread and any event loop may wait in them; of requests at
    most ``most`` in each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._lines: dict[str, deque[_Place]] = {}

    @asynccontextmanager
    async def of_request(self, collection: str, request: Request | None = None) -> AsyncIterator[str | None]:
        """Wait without a thread; have the turn inside. Gives the id of the task that had the turn when this
        one came, None where none had.

        Give the ``request``, once its body has been read, to leave the line when its client goes away.

        Raises:
            LineFull: so many wait already.
            Disconnected: the client has gone while it waited.
        """
        loop, come = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(come.set)

        place = _Place(wake)
        before = self._join(collection, place, self._most)
        try:
            if before is not None:
                await _until(come, request)
            yield None if before is None else before.task
        finally:
            self._leave(collection, place)

    @contextmanager
    def of_task(self, collection: str, task: str, check: Callable[[], None]) -> Iterator[None]:
        """Wait on this thread; have the turn inside. ``check`` raises where the ``task`` shall stop."""
        come = threading.Event()
        place = _Place(come.set, task)
        before = self._join(collection, place)
        try:
            while before is not None and not come.wait(STEP_SECONDS):
                check()
            yield
        finally:
            self._leave(collection, place)

    def check_room(self, collection: str) -> None:
        """Whether one more request may wait.

        Raises:
            LineFull: it may not.
        """
        with self._lock:
            self._check_room(self._lines.get(collection), self._most)

    def waiting(self, collection: str) -> int:
        """How many stand in line, the one whose turn it is included."""
        with self._lock:
            return len(self._lines.get(collection, ()))

    def _check_room(self, line: deque[_Place] | None, most: int) -> None:
        requests = sum(place.task is None for place in list(line or ())[1:])
        if line and requests >= most:
            raise LineFull(requests, line[0].task)

    def _join(self, collection: str, place: _Place, most: int | None = None) -> _Place | None:
        """Who has the turn now; None: the new one."""
        with self._lock:
            line = self._lines.get(collection)
            if most is not None:
                self._check_room(line, most)
            if line is None:
                self._lines[collection] = deque([place])
                return None
            line.append(place)
            return line[0]

    def _leave(self, collection: str, place: _Place) -> None:
        with self._lock:
            line = self._lines[collection]
            had_the_turn = line[0] is place
            line.remove(place)
            following = line[0] if line and had_the_turn else None
            if not line:
                del self._lines[collection]
        if following is not None:
            following.wake()


async def _until(come: asyncio.Event, request: Request | None) -> None:
    if request is None:
        await come.wait()
        return
    coming, going = asyncio.create_task(come.wait()), asyncio.create_task(until_gone(request))
    try:
        await asyncio.wait((coming, going), return_when=asyncio.FIRST_COMPLETED)
        if going.done():
            going.result()
            raise Disconnected
    finally:
        coming.cancel()
        going.cancel()
