"""The end of a task: saved, logged, counted, and cleaned up after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from retrieval.errors import RetrievalError
from server.http.problems import ProblemError
from server.tasks.jobs import Job, Kind, TaskMetrics
from server.tasks.problems import task_problem
from server.tasks.record import TaskState, now

__all__ = ["Ending"]


class Ending:
    """Ends tasks; ``forget`` is called with the id of one whose end is on disk. Any thread may call."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        log: Any,
        metrics: TaskMetrics | None,
        forget: Callable[[str], object],
    ) -> None:
        self._kinds, self._log, self._metrics, self._forget = kinds, log, metrics, forget

    def fail(self, job: Job, error: Exception) -> None:
        """It has failed, with this as its problem."""
        record = job.record
        if not isinstance(error, (RetrievalError, ProblemError)):
            self._log.error("unexpected error", task=record.id, kind=record.kind, exc_info=error)
        self.end(job, "failed", problem=task_problem(error, record.request_id or record.id))

    def end(
        self,
        job: Job,
        state: TaskState,
        *,
        result: Mapping[str, Any] | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        """It has this final state."""
        before = job.record
        kind = self._kinds.get(before.kind, Kind())
        kind.is_over(before)  # also where its end cannot be saved
        progress = replace(before.progress, eta_seconds=None)
        values = {"state": state, "finished_at": now(), "result": result, "problem": problem}
        log = self._log.bind(task=before.id, kind=before.kind, collection=before.collection)
        try:
            job.control.change(**values, progress=progress, payload=None)
        except ProblemError as error:
            # It stays in memory, so that its end can be seen; on disk it is unfinished, and the next start
            # needs what its payload names.
            log.error("the end of a task could not be saved", detail=error.detail)
            return
        self._forget(before.id)
        seconds = 0.0 if job.began is None else round(time.monotonic() - job.began, 3)
        log.info("task ended", state=state, seconds=seconds)
        if self._metrics is not None:
            self._metrics.task_ended(before.kind, state, seconds)
        try:
            if kind.ended is not None:
                kind.ended(replace(job.record, payload=before.payload))
        except Exception:
            log.exception("could not clean up after a task")
