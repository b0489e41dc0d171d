"""Long work on the server: ask how far it is, wait until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from retrieval.client.errors import RemoteError, error_of_problem
from retrieval.client.exchange import Call, Pause, Request, ask, json_request, path_of, understood
from retrieval.client.records import RemoteTask, TaskState, record_of
from retrieval.types import TrainingProgress

__all__ = [
    "cancel_task",
    "finished",
    "finished_from",
    "get_task",
    "list_tasks",
    "result_of",
    "submit",
    "task_of",
    "told_stages",
]

FIRST_LOOK = 0.05
LONGEST_LOOK = 2.0
"""Seconds between two looks at a task: soon for short ones, seldom for long ones."""

T = TypeVar("T")
Watch = Callable[[RemoteTask], None] | None


def task_of(values: Mapping[str, Any]) -> RemoteTask:
    """A task from its JSON."""
    return record_of(RemoteTask, values)


def submit(path: str, body: Mapping[str, Any]) -> Call[RemoteTask]:
    """Ask for long work: its task. Not repeated where it may have arrived: it would run again."""
    return (yield from ask(json_request("POST", path, body))).read(task_of)


def get_task(task_id: str) -> Call[RemoteTask]:
    """A task as it stands."""
    return (yield from ask(json_request("GET", path_of("tasks", task_id)))).read(task_of)


def list_tasks(state: TaskState | None, collection: str | None, limit: int) -> Call[list[RemoteTask]]:
    """The newest tasks, at most ``limit``."""
    chosen = {"state": state, "collection": collection}
    params = {name: value for name, value in chosen.items() if value is not None}
    found: list[RemoteTask] = []
    while len(found) < limit:
        params["limit"] = str(min(limit - len(found), 100))
        request = Request("GET", path_of("tasks"), dict(params))
        page, cursor = (yield from ask(request)).read(
            lambda body: ([task_of(item) for item in body["tasks"]], body.get("next_cursor"))
        )
        found += page
        if cursor is None:
            break
        params["cursor"] = cursor
    return found[:limit]


def cancel_task(task_id: str) -> Call[RemoteTask]:
    """Ask a task to stop; a running one stops at its next step."""
    request = json_request("POST", path_of("tasks", task_id, "cancel"), {}, repeatable=True)
    return (yield from ask(request)).read(task_of)


def finished(task: RemoteTask, watch: Watch = None) -> Call[RemoteTask]:
    """The task when it has succeeded; ``watch`` sees it at every change.

    Raises:
        RetrievalError: it failed, as the engine's own error where it is one.
        RemoteError: it was cancelled (``code`` is ``cancelled``).
    """
    shown, pause = None, FIRST_LOOK
    while True:
        if watch is not None and task != shown:
            watch(task)
            shown = task
        if task.is_final:
            break
        yield Pause(pause)
        pause = min(2 * pause, LONGEST_LOOK)
        task = yield from get_task(task.id)
    if task.state == "succeeded":
        return task
    if task.state == "cancelled":
        raise RemoteError(f"the task {task.id} ({task.kind}) was cancelled", code="cancelled")
    told = f"the task {task.id} ({task.kind}) failed and did not say why"
    raise error_of_problem(task.problem, status=None, request_id=None, otherwise=told)


def finished_from(task: RemoteTask | str, watch: Watch = None) -> Call[RemoteTask]:
    """`finished`, of a task that may be given by its id."""
    found = (yield from get_task(task)) if isinstance(task, str) else task
    return (yield from finished(found, watch))


def result_of(
    path: str, body: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], T], watch: Watch = None
) -> Call[T]:
    """Long work from its request to what ``parse`` makes of its result."""
    task = yield from submit(path, body)
    done = yield from finished(task, watch)
    return understood(lambda: parse(done.result or {}), f"the result of the task {done.id} ({done.kind})")


def told_stages(progress: TrainingProgress) -> Callable[[RemoteTask], None]:
    """A watcher that tells stages and shares as training does."""

    def watch(task: RemoteTask) -> None:
        if task.progress.stage is not None:
            progress(task.progress.stage, task.progress.fraction)

    return watch
