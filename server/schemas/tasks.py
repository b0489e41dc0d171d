"""Long work and how far it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.schemas.base import Bounded, examples
from server.schemas.problems import Problem

__all__ = ["DEFAULT_TASKS", "MAX_TASKS", "Progress", "Task", "TaskList", "TaskQuery"]

DEFAULT_TASKS = 100
MAX_TASKS = 1000

TaskKind = Literal["ingest", "compact", "verify", "diagnose", "snapshot", "restore"]
TaskState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

_TASK = {
    "id": "0d8f4b2f5c0e4d0c9b7a31c2a4f8e6d1",
    "kind": "compact",
    "collection": "papers",
    "state": "running",
    "created_at": "2026-01-31T12:00:00.000+00:00",
    "started_at": "2026-01-31T12:00:00.004+00:00",
    "finished_at": None,
    "progress": {"stage": "train", "fraction": 0.4, "documents": None, "eta_seconds": 12.5},
    "result": None,
    "problem": None,
}


class Progress(BaseModel):
    """How far a task is; null is what is not known."""

    stage: str | None = Field(description="what is being done")
    fraction: float | None = Field(description="the share of the stage that is done, 0 to 1")
    documents: int | None = Field(description="documents done so far")
    eta_seconds: float | None = Field(description="how long the stage will still take, by its pace so far")


class Task(BaseModel):
    """Work that goes on after its request was answered; it is done in order within a collection."""

    model_config = examples(_TASK)

    id: str
    kind: TaskKind
    collection: str
    state: TaskState = Field(description="queued, running, and then one of the others for good")
    created_at: str
    started_at: str | None
    finished_at: str | None
    progress: Progress
    result: dict[str, Any] | None = Field(description="what came of it, once it has succeeded")
    problem: Problem | None = Field(description="why it failed, as a request would have been told")


class TaskList(BaseModel):
    """Tasks, newest first; they are forgotten 7 days after their end."""

    model_config = examples({"tasks": [_TASK], "next_cursor": None})

    tasks: list[Task]
    next_cursor: str | None = Field(description="send it as 'cursor' for the next page; null at the end")


class TaskQuery(Bounded):
    """Which tasks to list."""

    model_config = ConfigDict(extra="forbid")

    state: TaskState | None = Field(None, description="only those in this state")
    collection: str | None = Field(None, description="only those of this collection (a name or an alias)")
    limit: int = Field(DEFAULT_TASKS, ge=1, le=MAX_TASKS, description="how many at most")
    cursor: str | None = Field(None, pattern=r"^[0-9]{1,18}$", description="'next_cursor' of the page before")
