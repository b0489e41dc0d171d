"""Those who write to collections, each in its turn, and what one is told who comes when too many wait."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from starlette.requests import Request

from retrieval import Engine
from server.collections.registry import Registry
from server.documents.turns import LineBlocked, Turns
from server.http.problems import ProblemError
from server.tasks.manager import Tasks
from server.working.pool import WorkPool

__all__ = ["Writers"]

SHARE = 1 / 3
"""Of the writes in flight, how many may wait for one collection: two tasks run at one time, and while as many
wait for each as may, other collections can be written to."""
LONGEST_RETRY = 60
"""Seconds after which a refused write may come again, however long the task before it still takes."""
LONGEST_WAIT = 20.0
"""Seconds that a write waits for its turn: clients that wait half a minute, as ours does, hear that nothing
was written and for which task to look. Where the task says that it takes longer, they hear it at once."""

T = TypeVar("T")


class Writers:
    """Writes to one collection take ``turns``, in the order in which they came, so that they keep one thread
    of ``pool`` busy and not all of them. ``max_in_flight`` is how many may be in flight for all collections.
    """

    def __init__(self, registry: Registry, tasks: Tasks, pool: WorkPool, max_in_flight: int) -> None:
        self._registry, self._tasks, self._pool = registry, tasks, pool
        most = max(1, round(SHARE * max_in_flight))
        self.turns, self._upkeep = Turns(most, LONGEST_WAIT), Turns(most)

    async def in_turn(
        self,
        collection: str,
        job: Callable[[Engine, str | None], T],
        request: Request | None = None,
    ) -> T:
        """What ``job`` makes of the engine and of the id of the last task that it waited for (None: of none),
        on a thread, after the writes to this collection that came, or were accepted as tasks, before. Give
        the ``request``, once its body has been read, to stop waiting when its client goes away.

        Raises:
            ProblemError: 404, 503: there is no such collection, it is not ready, too many wait for it, it
                would wait or has waited longer than `LONGEST_WAIT`, or a task that comes first could not
                write to it.
            Disconnected: the client has gone, and nothing was done.
        """

        self.check_room(collection)

        def leased(waited_for: str | None) -> T:
            with self._registry.lease(collection) as engine:
                return job(engine, waited_for)

        async with self._turn(self.turns, collection, request) as waited_for:
            return await self._pool.run(lambda: leased(waited_for))

    async def after_writes(
        self, collection: str, upkeep: Callable[[], Awaitable[T]], request: Request | None = None
    ) -> T:
        """What ``upkeep`` gives, awaited when nobody writes to the collection who came before, and no other
        upkeep is done. Merges take minutes and keep nobody from writing: who comes later does not wait.
        ``request`` and errors: as `in_turn`."""
        async with self._turn(self._upkeep, collection, request):
            async with self._turn(self.turns, collection, request):
                pass
            return await upkeep()

    def check_room(self, collection: str) -> None:
        """Whether one more write to the collection may wait for its turn, and will not wait too long, as far
        as the task before it knows; better told before its body comes.

        Raises:
            ProblemError: 503 collection_busy.
        """
        with self._telling(collection):
            self.turns.check_room(collection)
            task = self.turns.first_task(collection)
            if task is not None and self._seconds_of(task) > LONGEST_WAIT:
                raise LineBlocked(0, task, waited=0.0)

    @asynccontextmanager
    async def _turn(
        self, turns: Turns, collection: str, request: Request | None
    ) -> AsyncIterator[str | None]:
        with self._telling(collection):
            async with turns.of_request(collection, request) as waited_for:
                yield waited_for

    @contextmanager
    def _telling(self, collection: str) -> Iterator[None]:
        try:
            yield
        except LineBlocked as line:
            raise self._busy(collection, line) from None

    def _seconds_of(self, task: str) -> float:
        """How long it still takes, as far as that is known."""
        return self._tasks.get(task).progress.eta_seconds or 0.0

    def _busy(self, collection: str, line: LineBlocked) -> ProblemError:
        seconds, waits_for = 1.0, ""
        if line.task is not None:
            waits_for = f" for the task {line.task}"
            seconds = self._seconds_of(line.task) or seconds
        told = f"{line.waiting} requests to write to '{collection}' wait{waits_for}, and that is the most"
        if line.waited is not None:
            told = f"a write to '{collection}' would wait{waits_for} longer than {LONGEST_WAIT:g} seconds"
        if line.reason is not None:
            told = f"the task {line.task} was accepted before and could not write yet ({line.reason})"
        return ProblemError(
            503,
            "collection_busy",
            f"{told}; try again later (documents can be sent with ack=task)",
            headers={"Retry-After": str(min(LONGEST_RETRY, math.ceil(seconds)))},
            members={} if line.task is None else {"task": line.task},
        )
