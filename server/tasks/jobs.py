"""A task's work, and what is known of its kind."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.tasks.control import TaskControl
from server.tasks.record import TaskRecord

__all__ = ["Ended", "Job", "Kind", "Places", "Resume", "TaskMetrics", "TaskWork"]

TaskWork = Callable[[TaskControl], Mapping[str, Any] | None]
"""What a task does, on a thread; what it returns becomes the result, as JSON values."""

Resume = Callable[[TaskRecord], TaskWork]
Ended = Callable[[TaskRecord], None]


class TaskMetrics(Protocol):
    """Who counts tasks."""

    def task_ended(self, kind: str, state: str, seconds: float) -> None:
        """A task has ended in this state, so many seconds after it began (0: it never began)."""


class Places(Protocol):
    """Where tasks stand in line with others, from the moment in which they are accepted."""

    def keep(self, collection: str, task: str) -> None:
        """A task has been accepted; it begins later."""

    def forget(self, collection: str, task: str) -> None:
        """It has ended, whether or not it ever began."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What becomes of tasks of a kind: see `Tasks.register_kind`."""

    resume: Resume | None = None
    ended: Ended | None = None
    places: Places | None = None

    def accepted(self, record: TaskRecord) -> None:
        """A task of this kind has been."""
        if self.places is not None:
            self.places.keep(record.collection, record.id)

    def is_over(self, record: TaskRecord) -> None:
        """A task of this kind does nothing any more."""
        if self.places is not None:
            self.places.forget(record.collection, record.id)


@dataclass(slots=True, eq=False)
class Job:
    """A task that waits or runs."""

    control: TaskControl
    work: TaskWork
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    began: float | None = None
    not_before: float = 0.0
    """By ``time.monotonic()``: what it needs was not there, and is looked for again then."""
    tries: int = 0
    unwanted: bool = False
    """Somebody cancelled it; else it can only be that the server is about to end."""

    @property
    def record(self) -> TaskRecord:
        """The task as it is now."""
        return self.control.record
