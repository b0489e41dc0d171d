"""Structured logs: one JSON object a line on stderr. A request's line holds no query, document or header."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

__all__ = ["make_logger", "uvicorn_log_config"]

_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
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
        "foreign_pre_chain": _PROCESSORS[:-1],
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _PROCESSORS[-1]],
    }
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"stderr": handler},
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False}},
    }
