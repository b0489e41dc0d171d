"""What can go wrong with a task besides its work."""

from __future__ import annotations

from typing import Any

from retrieval.errors import RetrievalError
from server.http.problems import RETRY_AFTER, ProblemError, internal_problem, problem_body, status_of

__all__ = ["draining", "interrupted", "may_pass", "task_problem", "too_many_tasks", "unknown_task"]


def task_problem(error: Exception, request_id: str) -> dict[str, Any]:
    """The object that ``error`` would have been over HTTP."""
    if isinstance(error, RetrievalError):
        error = ProblemError(status_of(error), error.code, str(error))
    elif not isinstance(error, ProblemError):
        error = internal_problem()
    return problem_body(error, request_id)


def may_pass(error: Exception) -> bool:
    """Whether the same may work later: what it needs is not there now."""
    return bool(task_problem(error, "")["status"] == 503)


def interrupted() -> ProblemError:
    """The server stopped while the task waited or ran, and it cannot be begun anew."""
    return ProblemError(503, "interrupted", "the server stopped before this task ended; submit it again")


def draining() -> ProblemError:
    """The server takes no more."""
    told = "the server is about to stop; send it again to the one that takes its place"
    return ProblemError(503, "draining", told, headers=RETRY_AFTER)


def too_many_tasks(waiting: int) -> ProblemError:
    """So many wait."""
    told = f"{waiting} tasks wait, and that is the most; try again when some have ended"
    return ProblemError(429, "too_many_tasks", told, headers={"Retry-After": "5"})


def unknown_task(task_id: str) -> ProblemError:
    """No task has this id, or none that the caller may know of."""
    told = f"there is no task '{task_id[:64]}'; tasks are forgotten 7 days after their end"
    return ProblemError(404, "unknown_task", told)
