"""Values of a request that the engine would refuse as configuration: 422 with a pointer, not 500."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from retrieval.errors import ConfigError, RetrievalError
from server.http.problems import ProblemError

__all__ = ["refusal", "refusing"]


def refusal(error: RetrievalError, pointer: str = "", named: Collection[str] = ()) -> ProblemError:
    """The problem for an error about the value at ``pointer``, or about the member of it that the error
    begins with, if that is one of ``named``."""
    member = str(error).partition("=")[0]
    at = f"{pointer}/{member}" if member in named else pointer
    errors = [{"pointer": at, "detail": str(error)}] if at else []
    return ProblemError(422, "bad_config", str(error), errors=errors)


@contextmanager
def refusing(pointer: str = "", named: Collection[str] = ()) -> Iterator[None]:
    """Turn a ConfigError into 422 `bad_config`."""
    try:
        yield
    except ConfigError as error:
        raise refusal(error, pointer, named) from None
