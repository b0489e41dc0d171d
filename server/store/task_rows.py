"""Tasks as rows of the server's store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from server.tasks.record import TaskProgress, TaskRecord

__all__ = ["ENDED", "LISTED", "forget_tasks", "json_text", "record_of", "row_of"]

TASK_DAYS = 7
MAX_ENDED_TASKS = 10_000
LISTED = (
    "id, kind, collection, state, created_at, started_at, finished_at, progress, result, problem, "
    "request_id, attempts"
)
ENDED = "state IN ('succeeded', 'failed', 'cancelled')"


def forget_tasks(connection: sqlite3.Connection) -> None:
    """Tasks that ended long ago, or of which there are too many."""
    oldest = (datetime.now(UTC) - timedelta(days=TASK_DAYS)).isoformat(timespec="milliseconds")
    last = f"SELECT seq FROM tasks WHERE {ENDED} ORDER BY seq DESC LIMIT 1 OFFSET {MAX_ENDED_TASKS}"
    connection.execute("DELETE FROM tasks WHERE finished_at < ?", (oldest,))
    connection.execute(f"DELETE FROM tasks WHERE {ENDED} AND seq <= ({last})")


def row_of(record: TaskRecord) -> tuple[Any, ...]:
    """The values of `LISTED`."""
    return (
        record.id,
        record.kind,
        record.collection,
        record.state,
        record.created_at,
        record.started_at,
        record.finished_at,
        json_text(asdict(record.progress)),
        json_text(record.result),
        json_text(record.problem),
        record.request_id,
        record.attempts,
    )


def record_of(row: Sequence[Any], payload: str | None = None) -> TaskRecord:
    """The task whose `LISTED` values these are, and the text of its payload."""
    known = dict(zip(LISTED.split(", "), row, strict=True))
    progress = TaskProgress(**json.loads(known.pop("progress")))
    parsed = {name: _parsed(known.pop(name)) for name in ("result", "problem")}
    return TaskRecord(**known, **parsed, progress=progress, payload=_parsed(payload))


def json_text(value: Mapping[str, Any] | None) -> str | None:
    """A column's text; None stays null."""
    return None if value is None else json.dumps(value)


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
