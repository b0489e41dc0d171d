"""From an exception to what a person reads, what a program reads, and the exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from index_tools.exit_codes import INTERRUPTED, UNEXPECTED, USAGE, exit_code
from retrieval.errors import RetrievalError

__all__ = ["Failure", "Interrupted", "failure_of", "report"]


class Interrupted(Exception):
    """Ctrl-C during work that can be taken up again; the message says how."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed command. ``code`` is a stable word for programs."""

    code: str
    message: str
    exit_code: int


def failure_of(error: BaseException) -> Failure:
    """Describe an exception in one line."""
    if isinstance(error, RetrievalError):
        return Failure(error.code, _one_line(str(error)), exit_code(error))
    if isinstance(error, Interrupted):
        return Failure("interrupted", _one_line(str(error)), INTERRUPTED)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "interrupted", INTERRUPTED)
    if hasattr(error, "format_message"):
        return Failure("usage", _usage_message(error), USAGE)
    if isinstance(error, OSError):
        return Failure("os_error", _os_message(error), UNEXPECTED)
    name = type(error).__name__
    told = _one_line(f"{name}: {error}" if str(error) else name)
    return Failure("unexpected", f"unexpected {told} (run with --debug for the traceback)", UNEXPECTED)


def report(failure: Failure, as_json: bool) -> None:
    """One line on stderr; with ``--json`` also ``{"error": {...}}`` on stdout."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {failure.message}\n")
    sys.stderr.flush()
    if as_json:
        told = {"error": {"code": failure.code, "message": failure.message}}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _usage_message(error: BaseException) -> str:
    """A parser's complaint (recognised by its interface: its class moved between versions of typer)."""
    message = _one_line(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "retrieval"
    return f"{message.rstrip('.')} (see '{path} --help')"


def _os_message(error: OSError) -> str:
    told = error.strerror or _one_line(str(error)) or type(error).__name__
    return f"{error.filename}: {told}" if error.filename else told


def _one_line(message: str) -> str:
    return " ".join(message.split())
