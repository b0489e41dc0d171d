"""A task as an answer."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from server.tasks.record import TaskRecord

__all__ = ["accepted", "task_answer", "task_body"]

JSON = "application/json"


def task_body(record: TaskRecord) -> dict[str, Any]:
    """The members of `server.schemas.tasks.Task`."""
    return {
        "id": record.id,
        "kind": record.kind,
        "collection": record.collection,
        "state": record.state,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "progress": asdict(record.progress),
        "result": record.result,
        "problem": record.problem,
    }


def task_answer(record: TaskRecord) -> Response:
    """200 with the task."""
    return Response(json.dumps(task_body(record)), media_type=JSON)


def accepted(record: TaskRecord) -> Response:
    """202 with the task, and where it can be asked after."""
    location = {"Location": f"/v1/tasks/{record.id}"}
    return Response(json.dumps(task_body(record)), 202, location, JSON)
