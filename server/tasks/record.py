"""What is known of one task, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["FINAL_STATES", "TaskProgress", "TaskRecord", "TaskState", "now"]

TaskState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL_STATES: frozenset[TaskState] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a running task is; None is what nobody knows.

    ``fraction`` (0 to 1) and ``eta_seconds`` are about the stage, ``documents`` counts those done.
    """

    stage: str | None = None
    fraction: float | None = None
    documents: int | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task; replaced as a whole when it changes, so readers need no lock.

    Times are ISO 8601 in UTC. ``problem`` is the object that the same error would have been over HTTP.
    ``payload`` (JSON values) is what the task can be begun anew from; a list of tasks leaves it out, and
    it is forgotten when the task has ended. ``attempts`` counts how often it began and was not stopped in
    good order.
    """

    id: str
    kind: str
    collection: str
    state: TaskState
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    progress: TaskProgress = field(default_factory=TaskProgress)
    result: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    payload: Mapping[str, Any] | None = None
    request_id: str | None = None
    attempts: int = 0

    @property
    def final(self) -> bool:
        """Whether it will not change any more."""
        return self.state in FINAL_STATES


def now() -> str:
    """This moment, as records have it: to the millisecond, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
