"""A task while this process has it: what the work tells, who watches, whether it shall stop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from server.http.problems import ProblemError
from server.tasks.record import TaskProgress, TaskRecord

__all__ = ["News", "TaskCancelled", "TaskControl"]

SAVE_SECONDS = 1.0


class TaskCancelled(Exception):
    """Raised in the work of a task that shall stop; let it pass."""


class News:
    """Wakes one coroutine, from any thread; what comes while it is awake is told once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._told = False

    def tell(self) -> None:
        """There is something new."""
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        """Until there is something new, or for ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
        self._told = False  # before the caller looks: what changes after that is told again


class TaskControl:
    """What the work of a task has in hand; any thread may call.

    ``save`` puts a record on disk.
    """

    def __init__(self, record: TaskRecord, save: Callable[[TaskRecord], None]) -> None:
        self.record = record
        self._save = save
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._listeners: set[News] = set()
        self._saved_at = time.monotonic()
        self._pace: tuple[float, float] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the task shall stop: somebody cancelled it, or the server is about to end."""
        return self._stop.is_set()

    def check(self) -> None:
        """Call it where the work can stop and leave nothing half done.

        Raises:
            TaskCancelled: the task shall stop.
        """
        if self.cancelled:
            raise TaskCancelled

    def tell(
        self, stage: str | None = None, fraction: float | None = None, documents: int | None = None
    ) -> None:
        """Say how far the work is; what is not given stays, but a new stage has no fraction yet.

        ``fraction`` is of the stage, 0 to 1. Call it as often as you like: those who watch hear of it
        5 times a second, the disk once.

        Raises:
            TaskCancelled: as `check`.
        """
        self.check()
        with self._lock:
            before = self.record.progress
            stage = before.stage if stage is None else stage
            if fraction is None and stage == before.stage:
                fraction = before.fraction
            documents = before.documents if documents is None else documents
            eta = self._eta(fraction, stage == before.stage)
            self.record = replace(self.record, progress=TaskProgress(stage, fraction, documents, eta))
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._saved_at = time.monotonic()
                with contextlib.suppress(ProblemError):  # a full disk stops the work itself soon enough
                    self._save(self.record)
            self._announce()

    def stop(self) -> None:
        """Ask the work to stop at its next `check` or `tell`; it goes on until then."""
        self._stop.set()

    def change(self, **values: Any) -> None:
        """Change the record for good: those who watch see it, then it is saved.

        Raises:
            ProblemError: 500, it could not be saved.
        """
        with self._lock:
            self.record = replace(self.record, **values)
            try:
                self._save(self.record)
            finally:
                self._announce()

    @contextlib.contextmanager
    def listening(self) -> Iterator[News]:
        """Hear of every change, on the running event loop."""
        news = News()
        with self._lock:
            self._listeners.add(news)
        try:
            yield news
        finally:
            with self._lock:
                self._listeners.discard(news)

    def announce(self) -> None:
        """Wake those who watch."""
        with self._lock:
            self._announce()

    def _announce(self) -> None:
        for news in self._listeners:
            news.tell()

    def _eta(self, fraction: float | None, same_stage: bool) -> float | None:
        """Seconds that the stage still takes, by its pace since its first fraction."""
        if fraction is None:
            self._pace = None
            return None
        moment = time.monotonic()
        if self._pace is None or not same_stage or fraction < self._pace[1]:
            self._pace = (moment, fraction)
        began, at = self._pace
        if fraction <= at:
            return None
        return round((moment - began) * (1 - fraction) / (fraction - at), 1)
