"""Long work: in order within a collection, two at a time, seen and stopped from outside."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import structlog

from retrieval.jsonable import json_value
from server.http.problems import ProblemError
from server.store.store import ServerStore, TaskPage
from server.tasks.control import TaskCancelled, TaskControl
from server.tasks.ending import Ending
from server.tasks.jobs import Ended, Job, Kind, Places, Resume, TaskMetrics, TaskWork
from server.tasks.left import Left, begin_anew
from server.tasks.problems import draining, interrupted, may_pass, too_many_tasks, unknown_task
from server.tasks.record import TaskProgress, TaskRecord, TaskState, now
from server.tasks.waiting import Waiting
from server.tasks.watch import watch_live, watch_stored

__all__ = ["TaskCancelled", "TaskControl", "TaskMetrics", "TaskRecord", "TaskWork", "Tasks"]

WORKERS = 2
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a task is tried again whose collection could not be written to; twice as long each time."""


class Tasks:
    """The tasks of one server. Any thread may call; what changes a task writes to disk, and so blocks."""

    def __init__(
        self, store: ServerStore, log: Any, metrics: TaskMetrics | None = None, max_waiting: int = 100
    ) -> None:
        self._store, self._log, self._max_waiting = store, log, max_waiting
        self._kinds: dict[str, Kind] = {}
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Job, Future[None]]] = {}
        """By id: what is being done."""
        self._live: dict[str, Job] = {}
        self._left = Left(store)  # now: what is submitted from here on was not left behind
        self._waiting = Waiting(self._left.lines())
        self._ending = Ending(self._kinds, log, metrics, lambda task_id: self._live.pop(task_id, None))
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="task")
        self._closing = False
        self._draining = False

    def register_kind(
        self,
        kind: str,
        resume: Resume | None,
        *,
        ended: Ended | None = None,
        places: Places | None = None,
    ) -> None:
        """Say what becomes of tasks of this kind after a restart.

        ``resume`` makes the work anew from a record with its payload; None: such a task has failed.
        ``ended`` is called with the record (and its payload) when a task has ended for good, whether or
        not it ever began: to remove what the payload names. ``places`` are kept from the moment in which
        a task is accepted until it has ended; for those left behind, from now on.
        """
        self._kinds[kind] = Kind(resume, ended, places)
        for record in self._left.records(kind):
            self._kinds[kind].accepted(record)

    def submit(
        self, kind: str, collection: str, work: TaskWork, *, payload: Mapping[str, Any] | None = None
    ) -> TaskRecord:
        """Have ``work`` done when its turn comes; the task is on disk when this returns.

        ``collection`` is its own name, not an alias. The work runs with the caller's context variables.

        Raises:
            ProblemError: 429 too_many_tasks, so many wait already; 503 draining; 500 store_failed.
        """
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        record = TaskRecord(
            uuid.uuid4().hex, kind, collection, "queued", now(), payload=payload, request_id=request_id
        )
        with self._lock:
            self._refuse_if_full()
            self._store.add_task(record)
            self._kinds.get(kind, Kind()).accepted(record)
            self._enqueue(Job(TaskControl(record, self._store.update_task), work))
            self._dispatch()
        return _shown(record)

    def get(self, task_id: str) -> TaskRecord:
        """A task as it is now.

        Raises:
            ProblemError: 404 unknown_task.
        """
        job = self._live.get(task_id)
        record = self._store.task(task_id) if job is None else _shown(job.record)
        if record is None:
            raise unknown_task(task_id)
        return record

    def list(
        self,
        state: TaskState | None = None,
        collections: Collection[str] | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> TaskPage:
        """Tasks, newest first; ``collections`` None: of all. ``after`` is the last page's ``next_after``."""
        page = self._store.tasks(state, collections, after, limit)
        live = (self._live.get(record.id) for record in page.records)
        # The disk has every state, but not every step of the progress.
        newest = [
            record if job is None else _shown(job.record)
            for record, job in zip(page.records, live, strict=True)
        ]
        return TaskPage(newest, page.next_after)

    def collections(self) -> Sequence[str]:
        """The collections that tasks are about."""
        return self._store.task_collections()

    def counts(self) -> dict[str, int]:
        """How many wait, and how many run."""
        with self._lock:
            return {"queued": len(self._waiting), "running": len(self._running)}

    def cancel(self, task_id: str) -> TaskRecord:
        """Ask a task to stop: one that waits is cancelled at once, one that runs at its next step.

        Work that cannot stop goes on to its end, and its state stays 'running' until then. A task that
        has ended stays as it is.

        Raises:
            ProblemError: 404 unknown_task.
        """
        with self._lock:
            job = self._taken_up(task_id)
            waited = job is not None and job in self._waiting
            if job is not None and waited:
                self._waiting.remove(job)
            elif job is not None:
                job.unwanted = True
                job.control.stop()
        if job is not None and waited:
            self._ending.end(job, "cancelled")
        return self.get(task_id)

    async def watch(self, task_id: str, heartbeat_s: float = 15.0) -> AsyncGenerator[TaskRecord, None]:
        """The task as it is, then at every change, at most 5 times a second; ends with a final state, or
        when the server drains. After ``heartbeat_s`` without a change the same record comes again.

        Raises:
            ProblemError: 404 unknown_task.
        """
        job = self._live.get(task_id)
        if job is None:
            changes = watch_stored(lambda: self.get(task_id), self._is_draining, heartbeat_s)
        else:
            changes = watch_live(job.control, self._is_draining, heartbeat_s)
        async with aclosing(changes):
            async for record in changes:
                yield _shown(record)

    def resume_unfinished(self) -> None:
        """After a restart: go on with what can be begun anew; the rest has failed (interrupted).

        Call it once, after every `register_kind`; it does nothing where the store is only read.
        """
        older: list[Job] = []
        while (job := self._next_left()) is not None:
            try:
                begin_anew(job, self._kinds.get(job.record.kind, Kind()))
            except Exception as error:  # noqa: BLE001 - one bad task must not keep the server from starting
                self._ending.fail(job, error)
            else:
                older.append(job)
        with self._lock:
            self._waiting.have_come([] if self._closing else older)
            self._dispatch()

    def _next_left(self) -> Job | None:
        with self._lock:
            job = self._left.oldest()
            if job is not None:  # from now on who cancels it finds it here
                self._live[job.record.id] = job
            return job

    def _taken_up(self, task_id: str) -> Job | None:
        """The job of a task; one that waits since the last start is put in line for it."""
        left = self._left.take(task_id)
        if left is not None:
            self._enqueue(left)
        return self._live.get(task_id)

    def drain(self) -> None:
        """End every `watch`, and take no more tasks; what waits or runs goes on."""
        self._draining = True
        with self._lock:
            jobs = list(self._live.values())
        for job in jobs:
            job.control.announce()

    def close(self, timeout_s: float) -> bool:
        """Tell running work to stop, and wait for it; whether all of it did.

        What can be begun anew waits on disk for the next start, running or not; what cannot and was
        running has failed (interrupted). Work that does not stop keeps the process alive to its end,
        unless it is killed: then the next start finds it as it was.
        """
        self.drain()
        with self._lock:
            self._closing = True
            self._waiting.clear()
            running = list(self._running.values())
        for job, _ in running:
            job.control.stop()
        self._executor.shutdown(wait=False)
        return not wait([future for _, future in running], timeout_s).not_done

    def _is_draining(self) -> bool:
        return self._draining

    def _refuse_if_full(self) -> None:
        if self._draining:
            raise draining()
        if len(self._waiting) >= self._max_waiting:
            raise too_many_tasks(len(self._waiting))

    def _enqueue(self, job: Job) -> None:
        self._live[job.record.id] = job
        self._waiting.add(job)

    def _dispatch(self) -> None:
        """Begin what may begin: the oldest tasks that need not wait for those that run."""
        while not self._closing and len(self._running) < WORKERS:
            job = self._waiting.next(job for job, _ in self._running.values())
            if job is None:
                return
            self._waiting.remove(job)
            future = self._executor.submit(job.context.run, self._run, job)
            self._running[job.record.id] = (job, future)

    def _run(self, job: Job) -> None:
        job.began = time.monotonic()
        try:
            job.control.change(state="running", started_at=now(), attempts=job.record.attempts + 1)
            job.control.check()
            result = json_value(job.work(job.control))
        except TaskCancelled:
            self._stopped(job)
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes the task's problem
            if self._passes(job, error):
                self._later(job, error)
            else:
                self._ending.fail(job, error)
        else:
            self._ending.end(job, "succeeded", result=result)
        finally:
            with self._lock:
                del self._running[job.record.id]
                self._dispatch()

    def _stopped(self, job: Job) -> None:
        """The work has let `TaskCancelled` pass: because of a person, or because the server ends."""
        resume = self._kinds.get(job.record.kind, Kind()).resume
        if job.unwanted or not self._closing:
            self._ending.end(job, "cancelled")
        elif resume is None:
            self._ending.fail(job, interrupted())
        else:
            again = {"state": "queued", "started_at": None, "progress": TaskProgress()}
            # If this fails it is 'running' on disk, which the next start takes up just as well.
            with suppress(ProblemError):
                job.control.change(**again, attempts=job.record.attempts - 1)

    def _passes(self, job: Job, error: Exception) -> bool:
        """Whether what was accepted must be kept, because the reason may go away: another process writes, the
        collection could not be opened."""
        resume = self._kinds.get(job.record.kind, Kind()).resume
        return resume is not None and not job.unwanted and may_pass(error)

    def _later(self, job: Job, error: Exception) -> None:
        """Put it back in line, to be tried again after a while."""
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2**job.tries)
        self._log.warning("a task waits", task=job.record.id, detail=str(error), seconds=seconds)
        with suppress(ProblemError):  # as in `_stopped`
            progress = TaskProgress(stage=f"waiting: {error}"[:200])
            attempts = job.record.attempts - 1
            job.control.change(state="queued", started_at=None, progress=progress, attempts=attempts)
        with self._lock:
            if self._closing:
                return
            if not job.unwanted:
                job.tries, job.not_before = job.tries + 1, time.monotonic() + seconds
                self._waiting.put_back(job)
        if job.unwanted:  # somebody cancelled it in the meantime
            self._ending.end(job, "cancelled")
            return
        timer = threading.Timer(seconds, self._look_again)
        timer.daemon = True
        timer.start()

    def _look_again(self) -> None:
        with self._lock:
            self._dispatch()


def _shown(record: TaskRecord) -> TaskRecord:
    return record if record.payload is None else replace(record, payload=None)
