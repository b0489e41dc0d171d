"""From an answer that is a problem to the error that the engine would have raised."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from retrieval import errors
from retrieval.errors import DataError, MissingExtraError, RetrievalError

__all__ = ["ConnectionFailedError", "RemoteError", "engine_error", "error_of_problem"]

_EXTRA = re.compile(r"the extra '([^']+)'")


class RemoteError(RetrievalError):
    """An error that only a service has: no access, no such collection, too busy, out of reach.

    ``code`` is a stable word for programs, ``status`` the HTTP status (None: there was no answer),
    ``request_id`` what the server's log knows the request by, ``errors`` the parts of the request
    that are wrong (``{"pointer", "detail"}``), ``members`` the problem's further members.
    """

    code: str  # type: ignore[misc]  # of the class elsewhere; here each one has its own

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int | None = None,
        request_id: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.code, self.status = detail, code, status
        self.request_id, self.errors = request_id, tuple(errors)
        self.members = dict(members or {})


class ConnectionFailedError(RemoteError):
    """No answer came. ``sent``: the request may have reached the server all the same."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail, code="connection_failed")
        self.sent = sent


_BY_CODE: dict[str, type[RetrievalError]] = {
    kind.code: kind
    for name in errors.__all__
    if (kind := getattr(errors, name)) is not RetrievalError  # its code says nothing more
} | {"bad_documents": DataError}
_OWN_MEMBERS = {"type", "title", "status", "detail", "code", "request_id", "errors"}


def error_of_problem(
    problem: object, *, status: int | None, request_id: str | None, otherwise: str
) -> RetrievalError:
    """The error of a problem (``application/problem+json``, or that of a task).

    Of the engine's class where it is one of the engine's errors; its ``__cause__`` is then the
    `RemoteError` with the rest. ``otherwise`` is said where ``problem`` is none.
    """
    if not isinstance(problem, Mapping) or not isinstance(problem.get("code"), str):
        return RemoteError(otherwise, code="bad_answer", status=status, request_id=request_id)
    listed = problem.get("errors")
    told = problem.get("request_id")
    remote = RemoteError(
        str(problem.get("detail") or problem["code"]),
        code=problem["code"],
        status=status if status is not None else problem.get("status"),
        request_id=told if isinstance(told, str) else request_id,
        errors=[item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else (),
        members={name: value for name, value in problem.items() if name not in _OWN_MEMBERS},
    )
    kind = _BY_CODE.get(remote.code)
    return remote if kind is None else engine_error(kind, remote)


def engine_error(kind: type[RetrievalError], remote: RemoteError) -> RetrievalError:
    """An error of the engine's class with the message of the remote one, which becomes its cause."""
    if issubclass(kind, MissingExtraError):
        # It writes its message itself, from parts; the server's is that message already.
        error: RetrievalError = kind.__new__(kind, remote.detail)
        named = _EXTRA.search(remote.detail)
        error.extra = named.group(1) if named else ""  # type: ignore[attr-defined]
    else:
        error = kind(remote.detail)
    error.__cause__ = remote
    return error
