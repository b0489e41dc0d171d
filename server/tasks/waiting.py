"""Which task begins next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Sequence

from server.tasks.jobs import Job
from server.tasks.left import Line, line_of

__all__ = ["Waiting"]


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

    def next(self, busy: Container[str]) -> Job | None:
        """The oldest one that may begin while these collections are ``busy``.

        One that is to be tried again later keeps those of its kind waiting: documents come in the order in
        which they were accepted. Other kinds may bring what it waits for.
        """
        moment, kept = time.monotonic(), set(self._kept)
        for job in self._jobs:
            line = line_of(job.record)
            if line.collection in busy or line in kept:
                continue
            if job.not_before <= moment:
                return job
            kept.add(line)
        return None
