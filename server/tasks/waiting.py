"""Which task begins next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence

from server.tasks.jobs import Job
from server.tasks.left import Line, line_of
from server.tasks.record import TaskRecord

__all__ = ["Waiting"]

WRITING = "ingest"
UPKEEP = frozenset({"compact", "diagnose", "snapshot", "verify"})
"""Documents are written beside these: a recipe is trained for minutes while the index grows. But these wait
for documents that were sent before, and both for a restore."""


class Waiting:
    """Tasks in the order in which they were submitted; the caller holds a lock. What is submitted in the
    lines ``kept`` does not begin until what an earlier start of the server left in them has come."""

    def __init__(self, kept: frozenset[Line]) -> None:
        self._jobs: deque[Job] = deque()
        self._kept = kept

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return job in self._jobs

    def add(self, job: Job) -> None:
        """A new one, behind all others."""
        self._jobs.append(job)

    def put_back(self, *jobs: Job) -> None:
        """Older ones than all others."""
        self._jobs.extendleft(reversed(jobs))

    def have_come(self, older: Sequence[Job]) -> None:
        """What was left behind is here, and there is no more of it."""
        self.put_back(*older)
        self._kept = frozenset()

    def remove(self, job: Job) -> None:
        """It waits no longer."""
        self._jobs.remove(job)

    def clear(self) -> None:
        """None waits any longer."""
        self._jobs.clear()

    def next(self, running: Iterable[Job]) -> Job | None:
        """The oldest one that may begin beside these, and before those that came before it.

        One that is to be tried again later keeps those of its kind waiting: documents come in the order in
        which they were accepted. Other kinds may bring what it waits for.
        """
        moment, kept = time.monotonic(), set(self._kept)
        before = [job.record for job in running]
        for job in self._jobs:
            line = line_of(job.record)
            if line in kept:
                continue
            if job.not_before > moment:
                kept.add(line)
            elif all(_goes_beside(job.record, other) for other in before):
                return job
            else:
                before.append(job.record)
        return None


def _goes_beside(one: TaskRecord, other: TaskRecord) -> bool:
    """Whether one need not wait for another that came before it."""
    return one.collection != other.collection or (one.kind == WRITING and other.kind in UPKEEP)
