"""What to do with a document that cannot be used: stop, or skip and count."""

from __future__ import annotations

from typing import Literal

from retrieval.errors import ConfigError, DataError

__all__ = ["ErrorPolicy"]

MAX_SAMPLES = 20


class ErrorPolicy:
    """Shared by a reader and the build it feeds, so that one count covers both.

    ``stop`` raises the first `DataError`; ``skip`` counts it (``skipped``) and keeps the first
    messages (``samples``).
    """

    def __init__(self, on_error: Literal["stop", "skip"] = "stop") -> None:
        if on_error not in ("stop", "skip"):
            raise ConfigError(f"on_error={on_error!r}: it is 'stop' or 'skip'")
        self.on_error = on_error
        self.skipped = 0
        self.samples: list[str] = []

    def report(self, error: DataError) -> None:
        """Raise ``error`` or count it; returning means: leave the document out."""
        if self.on_error == "stop":
            raise error
        self.skipped += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(str(error))
