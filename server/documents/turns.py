"""Who may write to a collection: one at a time, in the order in which they came.

The engine has a lock of its own, but whoever waits for that holds a thread. Requests wait here on the event
loop and hold none, but each holds a place among the writes in flight. A task that has the turn may take
minutes: so that it does not keep other collections from being written to, the requests that wait for one
collection have a share of those places, and one more is refused. Tasks have threads to wait with, and look
meanwhile whether they shall stop.

What was accepted first takes effect first: a task that is to write has its place from the moment in which it
is accepted, long before it begins. One that could not write, and is tried again, keeps that place; who knows
for how long, and so requests behind it are refused.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

from starlette.requests import Request

from server.working.pool import Disconnected, until_gone

__all__ = ["LineBlocked", "Turns"]

STEP_SECONDS = 0.1
"""How often a task that waits looks whether it shall stop."""


class LineBlocked(Exception):
    """No request can wait for a turn now. ``waiting`` do; ``task`` is what they wait for, if it is a task;
    ``reason`` is why it could not write (None: as many wait as may, or ``waited`` so many seconds)."""

    def __init__(
        self, waiting: int, task: str | None, reason: str | None = None, waited: float | None = None
    ) -> None:
        super().__init__(reason or f"{waiting} requests wait")
        self.waiting, self.task, self.reason, self.waited = waiting, task, reason, waited


def _nothing() -> None:
    """How one is told who does not wait yet."""


def _never(_: Exception) -> bool:
    return False


@dataclass(slots=True, eq=False)
class _Place:
    """A place in a line, and how to tell whoever has it that it is the first. ``task`` is its id; None: a
    request. ``is_kept``: for a task that has not begun, or is to begin again because of ``failure``."""

    wake: Callable[[], object]
    task: str | None = None
    is_kept: bool = False
    failure: str | None = None


class Turns:
    """The lines of writers, one a collection. Any thread and any event loop may wait in them; of requests at
    most ``most`` in each, and none longer than ``seconds``."""

    def __init__(self, most: int, seconds: float = math.inf) -> None:
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._lines: dict[str, deque[_Place]] = {}

    @asynccontextmanager
    async def of_request(self, collection: str, request: Request | None = None) -> AsyncIterator[str | None]:
        """Wait without a thread; have the turn inside. Gives the id of the last task that came before, None
        where none did.

        Give the ``request``, once its body has been read, to leave the line when its client goes away.

        Raises:
            LineBlocked: so many wait already, it waited too long, or a task that comes first is tried again
                later.
            Disconnected: the client has gone while it waited.
        """
        loop, come = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(come.set)

        place = _Place(wake)
        before = self._join(collection, place)
        until = loop.time() + self._seconds
        try:
            while not self._has_turn(collection, place):
                if loop.time() >= until:
                    raise self._too_late(collection, place)
                await _until(come, request, until - loop.time())
                come.clear()
            yield before
        finally:
            self._end(collection, place)

    def first_task(self, collection: str) -> str | None:
        """The task that a request has to wait for first, None where there is none."""
        with self._lock:
            return _first_task(self._lines.get(collection, ()))

    def keep(self, collection: str, task: str) -> None:
        """Keep a place for a task that begins later, behind all who are there, until `forget`."""
        with self._lock:
            self._lines.setdefault(collection, deque()).append(_Place(_nothing, task, is_kept=True))

    def forget(self, collection: str, task: str) -> None:
        """Let go of the place that was kept for a task, if there is one; nobody waits for it any more."""
        with self._lock:
            place = self._kept_for(collection, task)
            if place is not None:
                self._leave(collection, place)

    @contextmanager
    def of_task(
        self,
        collection: str,
        task: str,
        check: Callable[[], None],
        comes_again: Callable[[Exception], bool] = _never,
    ) -> Iterator[None]:
        """Wait on this thread; have the turn inside. ``check`` raises where the ``task`` shall stop.

        A place that was kept for it is kept again where an error goes out. Where ``comes_again`` says that it
        will be tried again after that error, requests behind it are refused until then.
        """
        come = threading.Event()
        place, was_kept = self._begin(collection, task, come.set)
        try:
            while not come.wait(STEP_SECONDS):
                check()
            yield
        except BaseException as error:
            failed = isinstance(error, Exception) and comes_again(error)
            self._end(collection, place, kept=was_kept, failure=str(error) if failed else None)
            raise
        self._end(collection, place)

    def check_room(self, collection: str) -> None:
        """Whether one more request may wait.

        Raises:
            LineBlocked: it may not.
        """
        with self._lock:
            self._check_room(self._lines.get(collection, deque()))

    def waiting(self, collection: str) -> int:
        """How many stand in line, the one whose turn it is included."""
        with self._lock:
            return len(self._lines.get(collection, ()))

    def _check_room(self, line: deque[_Place]) -> None:
        requests = _requests(line)
        _check_failures(line, requests)
        if line and requests >= self._most:
            raise LineBlocked(requests, _first_task(line))

    def _join(self, collection: str, place: _Place) -> str | None:
        """The last task that was there before a request."""
        with self._lock:
            line = self._lines.get(collection, deque())
            self._check_room(line)
            before = next((other.task for other in reversed(line) if other.task), None)
            line.append(place)
            self._lines[collection] = line
            return before

    def _has_turn(self, collection: str, place: _Place) -> bool:
        """Whether a request has; raises where it is not to wait for it any longer."""
        with self._lock:
            line = self._lines[collection]
            _check_failures(takewhile(lambda other: other is not place, line), _requests(line))
            return line[0] is place

    def _too_late(self, collection: str, place: _Place) -> LineBlocked:
        with self._lock:
            line = self._lines[collection]
            before = takewhile(lambda other: other is not place, line)
            return LineBlocked(_requests(line), _first_task(before), waited=self._seconds)

    def _begin(self, collection: str, task: str, wake: Callable[[], object]) -> tuple[_Place, bool]:
        """The place of a task that begins now, and whether one was kept for it.

        It comes before those that are kept for others, wherever it was: tasks of one collection begin one
        after the other, so that those would begin never if it waited for them.
        """
        with self._lock:
            line, kept = self._lines.setdefault(collection, deque()), self._kept_for(collection, task)
            place = _Place(wake, task)
            line.insert(next((i for i, other in enumerate(line) if other.is_kept), len(line)), place)
            if kept is not None:
                line.remove(kept)
            if line[0] is place:
                wake()
            return place, kept is not None

    def _kept_for(self, collection: str, task: str) -> _Place | None:
        line = self._lines.get(collection, ())
        return next((place for place in line if place.is_kept and place.task == task), None)

    def _end(self, collection: str, place: _Place, *, kept: bool = False, failure: str | None = None) -> None:
        """Leave the line, or have the place ``kept`` although there was a ``failure``."""
        with self._lock:
            if not kept:
                self._leave(collection, place)
                return
            place.wake, place.is_kept, place.failure = _nothing, True, failure
            for other in self._lines[collection]:
                if failure is not None and other.task is None:
                    other.wake()  # to be refused

    def _leave(self, collection: str, place: _Place) -> None:
        line = self._lines[collection]
        had_the_turn = line[0] is place
        line.remove(place)
        if not line:
            del self._lines[collection]
        elif had_the_turn:
            line[0].wake()


def _requests(line: deque[_Place]) -> int:
    """How many wait."""
    return sum(place.task is None for place in islice(line, 1, None))


def _first_task(line: Iterable[_Place]) -> str | None:
    return next((place.task for place in line if place.task), None)


def _check_failures(places: Iterable[_Place], waiting: int) -> None:
    for place in places:
        if place.failure is not None:
            raise LineBlocked(waiting, place.task, place.failure)


async def _until(come: asyncio.Event, request: Request | None, seconds: float) -> None:
    """Until the turn may have come, the seconds are over, or the client has gone."""
    waiting: list[asyncio.Task[Any]] = [asyncio.create_task(come.wait())]
    if request is not None:
        waiting.append(asyncio.create_task(until_gone(request)))
    limit = None if math.isinf(seconds) else seconds
    try:
        await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if request is not None and waiting[1].done():
            waiting[1].result()
            raise Disconnected
    finally:
        for each in waiting:
            each.cancel()
