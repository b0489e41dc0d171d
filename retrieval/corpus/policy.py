"""What to do with a document that cannot be used: stop, skip and count, or collect and refuse them all."""

from __future__ import annotations

from typing import Literal, get_args

from retrieval.errors import ConfigError, DataError

__all__ = ["ErrorPolicy", "OnError"]

MAX_SAMPLES = 20
OnError = Literal["stop", "skip", "collect"]


class ErrorPolicy:
    """Shared by a reader and the build, add or upsert it feeds, so that one count covers both.

    ``stop`` raises the first `DataError`; ``skip`` counts it (``skipped``) and keeps the first ``max_errors``
    of them (``errors``) and the first messages (``samples``). ``collect`` is for an add or upsert of all or
    nothing: it does the same to the end, and when anything was bad, writes nothing and raises one `DataError`
    with all of them. Make a new one for each call.
    """

    def __init__(self, on_error: OnError = "stop", *, max_errors: int = 1000) -> None:
        if on_error not in get_args(OnError):
            raise ConfigError(f"on_error={on_error!r}: it is 'stop', 'skip' or 'collect'")
        if max_errors < 1:
            raise ConfigError(f"max_errors={max_errors!r}: at least 1 must be kept")
        self.on_error, self.max_errors = on_error, max_errors
        self.skipped = 0
        self.samples: list[str] = []
        self.errors: list[DataError] = []

    def report(self, error: DataError) -> None:
        """Raise ``error`` or count it; returning means: leave the document out."""
        if self.on_error == "stop":
            raise error
        self.skipped += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(str(error))
        if len(self.errors) < self.max_errors:
            self.errors.append(error)

    @property
    def is_refusing(self) -> bool:
        """Whether nothing may be written any more: errors are collected, and there are some."""
        return self.on_error == "collect" and self.skipped > 0

    def settle(self) -> None:
        """Before a commit: refuse it if it is one that `is_refusing`.

        Raises:
            DataError: the first message and how many more; ``errors`` are those that were kept.
        """
        if self.is_refusing:
            more = f"; and {self.skipped - 1} more" if self.skipped > 1 else ""
            raise DataError(f"{self.errors[0]}{more}; nothing was written", errors=self.errors)
