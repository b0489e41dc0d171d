"""Every error a client can see, as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from retrieval import errors

__all__ = [
    "CLIENT_GONE",
    "MEDIA_TYPE",
    "RETRY_AFTER",
    "STATUS_BY_ERROR",
    "ProblemError",
    "install_handlers",
    "internal_problem",
    "invalid_request",
    "problem_body",
    "problem_of",
    "problem_response",
    "status_of",
]

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:retrieval:problem:"
MAX_REPORTED_ERRORS = 20
CLIENT_GONE = 499
"""What logs and metrics say of a request whose client did not wait; nobody receives it."""
RETRY_AFTER = {"Retry-After": "1"}

STATUS_BY_ERROR: Mapping[type[errors.RetrievalError], int] = {
    errors.RetrievalError: 500,
    errors.ConfigError: 500,
    errors.MissingExtraError: 501,
    errors.CollapsedError: 409,
    errors.DataError: 422,
    errors.QueryError: 422,
    errors.FilterError: 422,
    errors.DocumentNotFoundError: 404,
    errors.EncoderError: 500,
    errors.UntrainedProjectionError: 500,
    errors.EncoderMismatchError: 409,
    errors.IndexFolderError: 500,
    errors.IndexNotFoundError: 404,
    errors.IndexExistsError: 409,
    errors.IndexUnfinishedError: 503,
    errors.IndexFormatError: 500,
    errors.IndexLockedError: 503,
    errors.IndexDamagedError: 500,
}

_CODE_BY_STATUS = {
    400: "bad_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class ProblemError(Exception):
    """Raised anywhere below a route to answer with this problem.

    ``errors`` are ``{"pointer", "detail"}`` for parts of the body (RFC 6901); ``members`` are
    further members of the object.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def problem_response(problem: ProblemError, request_id: str | None) -> Response:
    """The problem as a response. Pure ASCII, so that hostile input echoed in it cannot break it."""
    body = json.dumps(problem_body(problem, request_id))
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


def problem_body(problem: ProblemError, request_id: str | None) -> dict[str, Any]:
    """The members of the problem's object."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.code,
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
        **problem.members,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return body


def status_of(error: errors.RetrievalError) -> int:
    """The status of the error's class, or of its nearest base that has one."""
    return next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)


def invalid_request(found: Sequence[tuple[str, str]]) -> ProblemError:
    """422 for a body that is JSON but not a request; ``found`` are (JSON pointer, what is wrong)."""
    shown = [{"pointer": pointer, "detail": detail} for pointer, detail in found[:MAX_REPORTED_ERRORS]]
    first = f"{found[0][0] or 'the body'}: {found[0][1]}"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return ProblemError(422, "invalid_request", first + more, errors=shown)


def internal_problem() -> ProblemError:
    """500 for what nobody expected; the log has the rest under the request id."""
    return ProblemError(500, "internal", "unexpected error; the server's log has it under this request id")


def install_handlers(app: FastAPI) -> None:
    """Turn every exception that a route may raise into a problem."""
    for kind, handler in _HANDLERS.items():
        app.exception_handler(kind)(handler)


async def problem_of(request: Request, error: Exception) -> Response:
    """The answer to an exception of a route that FastAPI did not call; what is no problem is raised."""
    for kind, handler in _HANDLERS.items():
        if isinstance(error, kind):
            return await handler(request, error)
    raise error


def _respond(request: Request, problem: ProblemError) -> Response:
    return problem_response(problem, getattr(request.state, "request_id", None))


async def _on_problem(request: Request, error: ProblemError) -> Response:
    return _respond(request, error)


async def _on_retrieval_error(request: Request, error: errors.RetrievalError) -> Response:
    status = status_of(error)
    headers = RETRY_AFTER if status == 503 else None
    return _respond(request, ProblemError(status, error.code, str(error), headers=headers))


async def _on_invalid_body(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        told = f"the body is not JSON: {found[0]['ctx']['error']} at character {found[0]['loc'][-1]}"
        return _respond(request, ProblemError(400, "malformed_json", told))
    return _respond(request, invalid_request([(_pointer(item["loc"]), item["msg"]) for item in found]))


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    code = _CODE_BY_STATUS.get(error.status_code, "http_error")
    detail = {
        400: "the body cannot be read as JSON",
        404: f"there is no route {request.url.path}; /docs lists them",
        405: f"{request.url.path} does not take {request.method}",
    }.get(error.status_code, error.detail)
    return _respond(request, ProblemError(error.status_code, code, detail, headers=error.headers))


_HANDLERS: dict[type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ProblemError: _on_problem,
    errors.RetrievalError: _on_retrieval_error,
    RequestValidationError: _on_invalid_body,
    HTTPException: _on_http_error,
}


def _pointer(location: Sequence[str | int]) -> str:
    """JSON pointer (RFC 6901) of a pydantic location that begins with 'body'."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location[1:]]
    return "".join("/" + part for part in parts)
