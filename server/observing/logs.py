"""Structured logs: one JSON object a line on stderr. A request's line holds no query, document or header, and
whatever else is logged, an exception's words for one, is freed of keys.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from server.security.keys import REDACTED, redact

__all__ = ["make_logger", "redact_event", "uvicorn_log_config"]

SECRET_NAMES = frozenset(
    {"api-key", "authorization", "cookie", "key", "password", "proxy-authorization", "token"}
)


def redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the event without anything that looks like a key, at any depth."""
    return {redact(str(name)): _redacted(name, value) for name, value in event.items()}


def _redacted(name: Any, value: Any) -> Any:
    if _is_secret(name):
        return REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {redact(str(inner)): _redacted(inner, item) for inner, item in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and _is_secret(value[0]):
        return [redact(str(value[0])), REDACTED]  # a header as ASGI has it
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(None, item) for item in value]
    # What JSON does not know would be written as its repr after this.
    return redact(value if isinstance(value, str) else repr(value))


def _is_secret(name: Any) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return isinstance(text, str) and text.lower().replace("_", "-") in SECRET_NAMES


_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact_event,
    structlog.processors.JSONRenderer(),
]


class _Stderr:
    """Whatever stderr is when a line is written; a log that cannot be written fails no request."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def make_logger() -> Any:
    """A logger of this application alone: structlog's global configuration stays as it was."""
    return structlog.wrap_logger(
        structlog.WriteLogger(cast(TextIO, _Stderr())),
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind()


def uvicorn_log_config() -> dict[str, Any]:
    """What uvicorn itself has to say, in the same form (its access log is off: we log requests)."""
    formatter = {
        "()": "structlog.stdlib.ProcessorFormatter",
        # The formatter's own entries are objects that must reach it whole, so that redacting comes after it.
        "foreign_pre_chain": _PROCESSORS[:-2],
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_PROCESSORS[-2:]],
    }
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"stderr": handler},
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False}},
    }
