"""How long the stages of a search take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Milliseconds of each stage since it was made."""

    def __init__(self) -> None:
        self._started, self._stages = time.perf_counter(), dict[str, float]()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self._stages[name] = 1000 * (time.perf_counter() - started)

    def told(self) -> dict[str, float]:
        """All stages; ``search`` is the sum of those that search, ``total`` the time until now."""
        search = sum(ms for name, ms in self._stages.items() if name not in ("encode", "fetch"))
        return {**self._stages, "search": search, "total": 1000 * (time.perf_counter() - self._started)}
