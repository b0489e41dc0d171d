"""What an earlier start of the server left behind: tasks that waited or ran when it ended."""

from __future__ import annotations

import threading
from typing import NamedTuple

from server.store.store import ServerStore
from server.tasks.control import TaskControl
from server.tasks.jobs import Job, Kind
from server.tasks.problems import interrupted
from server.tasks.record import TaskProgress, TaskRecord

__all__ = ["Left", "Line", "begin_anew", "line_of"]

MAX_ATTEMPTS = 3
"""A task that took the process down with it so often is not begun again."""


class Line(NamedTuple):
    """Tasks of one line are done in the order in which they were submitted."""

    collection: str
    kind: str


def line_of(record: TaskRecord) -> Line:
    """The line in which a task waits."""
    return Line(record.collection, record.kind)


class Left:
    """Each of them is taken up once: when the server starts, or before that by who asks for it. Any thread
    may call. Nothing is left where the store is only read: those tasks are another server's."""

    def __init__(self, store: ServerStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self._records = {} if store.read_only else {each.id: each for each in store.unfinished_tasks()}

    def records(self, kind: str) -> list[TaskRecord]:
        """Those of a kind that nobody has taken up yet, oldest first."""
        with self._lock:
            return [record for record in self._records.values() if record.kind == kind]

    def lines(self) -> frozenset[Line]:
        """The lines that they are in."""
        with self._lock:
            return frozenset(map(line_of, self._records.values()))

    def oldest(self) -> Job | None:
        """Take up the one that has waited longest; None: there are no more."""
        with self._lock:
            return self._taken(next(iter(self._records), None))

    def take(self, task_id: str) -> Job | None:
        """Take up this one; None: it is none of them, or somebody has it."""
        with self._lock:
            return self._taken(task_id)

    def _taken(self, task_id: str | None) -> Job | None:
        record = None if task_id is None else self._records.pop(task_id, None)
        return None if record is None else Job(TaskControl(record, self._store.update_task), _nothing)


def begin_anew(job: Job, kind: Kind) -> None:
    """Give a task work again, and let it wait for its turn.

    Raises:
        ProblemError: 503 interrupted, it cannot be begun anew; 500 store_failed.
    """
    if kind.resume is None or job.record.attempts >= MAX_ATTEMPTS:
        raise interrupted()
    job.work = kind.resume(job.record)
    if job.record.state != "queued":
        job.control.change(state="queued", started_at=None, progress=TaskProgress())


def _nothing(control: TaskControl) -> None:
    del control
