"""See what long work does, and stop it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.context import Context
from server.http.openapi import problems
from server.http.problems import RETRY_AFTER, ProblemError
from server.http.routing import api, make_router
from server.schemas.base import Empty
from server.schemas.tasks import Task, TaskList, TaskQuery
from server.security.access import Principal
from server.tasks.answer import task_answer, task_body
from server.tasks.manager import Tasks
from server.tasks.problems import unknown_task
from server.tasks.record import TaskRecord
from server.working.admission import Admission

__all__ = ["router"]

router = make_router("/v1/tasks", "tasks")

EVENTS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""No proxy keeps events back until it has many."""

_STREAM = {
    "description": "a Task at every change, the last one with a final state",
    "content": {
        "text/event-stream": {"schema": {"type": "string"}, "example": "event: task\ndata: {...}\n\n"}
    },
}


@router.get("", summary="List tasks", response_model=TaskList, responses=problems(401, 403, 422))
@api("read")
async def list_tasks(request: Request, context: Context, query: Annotated[TaskQuery, Query()]) -> Response:
    """Newest first; only those of collections that the key may read."""
    principal: Principal = request.state.principal
    wanted = None if query.collection is None else context.registry.true_name(query.collection)
    if wanted is not None:
        principal.require("read", wanted, called=query.collection)
    after = None if query.cursor is None else int(query.cursor)

    def listed() -> bytes:
        names = context.tasks.collections() if wanted is None else [wanted]
        readable = [name for name in names if principal.may("read", name)]
        page = context.tasks.list(query.state, readable, after, query.limit)
        next_cursor = None if page.next_after is None else str(page.next_after)
        tasks = [task_body(record) for record in page.records]
        return json.dumps({"tasks": tasks, "next_cursor": next_cursor}).encode()

    return Response(await context.pool.run(listed), media_type="application/json")


@router.get("/{task}", summary="One task", response_model=Task, responses=problems(401, 403, 404))
@api("read")
async def get_task(task: str, request: Request, context: Context) -> Response:
    """How far it is, or what came of it."""
    return task_answer(await context.pool.run(lambda: _readable(context.tasks, task, request)))


@router.post("/{task}/cancel", summary="Stop a task", response_model=Task, responses=problems(401, 403, 404))
@api("write")
async def cancel_task(task: str, body: Empty, request: Request, context: Context) -> Response:
    """One that waits is cancelled at once, one that runs at its next step; its state tells when.

    It needs the scope 'admin' for the task's collection, 'write' for an ingest. A task that has ended stays
    as it is.
    """
    del body

    def cancelled() -> TaskRecord:
        record = _readable(context.tasks, task, request)
        scope = "write" if record.kind == "ingest" else "admin"
        request.state.principal.require(scope, record.collection)
        return context.tasks.cancel(task)

    return task_answer(await context.pool.run(cancelled))


@router.get(
    "/{task}/events",
    summary="Follow a task",
    response_class=StreamingResponse,
    responses={200: _STREAM, **problems(401, 403, 404, 503)},
)
@api("read")
async def task_events(task: str, request: Request, context: Context) -> Response:
    """Server-sent events 'task' with the task as data, at most 5 a second. The stream ends with a final
    state, and also when the server stops: ask again then. 503 while too many streams are open."""
    await context.pool.run(lambda: _readable(context.tasks, task, request))
    return _Stream(context.streams, _events(context.tasks, task))


class _Stream(StreamingResponse):
    """Server-sent events, counted from before the first byte until nobody listens any more."""

    def __init__(self, streams: Admission, events: AsyncGenerator[str, None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=EVENTS)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them (ASGI); nothing has been sent where there is no room.

        Raises:
            ProblemError: 503 overloaded.
        """
        if self._streams.is_full:
            told = (
                f"{self._streams.in_flight} streams of events are open, and that is the most; "
                "GET the task itself, or try again soon"
            )
            raise ProblemError(503, "overloaded", told, headers=RETRY_AFTER)
        with self._streams.enter():
            await super().__call__(scope, receive, send)


async def _events(tasks: Tasks, task: str) -> AsyncGenerator[str, None]:
    shown = None
    async with aclosing(tasks.watch(task)) as changes:
        async for record in changes:
            body = task_body(record)
            # A comment keeps the connection open, and finds out whether anybody is still there.
            yield ": nothing new\n\n" if body == shown else f"event: task\ndata: {json.dumps(body)}\n\n"
            shown = body


def _readable(tasks: Tasks, task: str, request: Request) -> TaskRecord:
    """The task, if the key may read its collection; of others it is not told that they exist."""
    record = tasks.get(task)
    if not request.state.principal.may("read", record.collection):
        raise unknown_task(task)
    return record
