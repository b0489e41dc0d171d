"""Which searches are so short that a thread of their own costs more than they do.

To wake a thread and be woken by it takes a tenth of a millisecond, and two threads that both run Python wait
for each other at every step: a search of a third of a millisecond is answered sooner where its request was
read, and so are those that come with it. What must not happen is that a long one keeps all other requests
waiting there. So it has to be plain, those before it have to have been short, and the index as it was then:
what a commit has added is read by the first search after it, which may take long.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from retrieval import Engine

if sys.platform == "linux":
    import resource

__all__ = ["Paces"]

T = TypeVar("T")

SHORT_SECONDS = 0.001
"""CPU time of a short search, where all requests wait for it."""
LONG_SECONDS = 0.005
"""So long nothing else may have to wait for what a search works, or waits for itself. Where the system gives
its core to somebody else meanwhile, as under overload, a thread of its own would only be slower."""
ENOUGH, MANY = 8, 100
"""Short ones in a row before one is thought to be short; and before one that was long does not count, since
garbage is collected at any time."""
PAUSE_SECONDS = 1.0
"""After one that was long, and not after many."""
CATALOG = ("catalog.sqlite", "catalog.sqlite-wal")
Commit = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Pace:
    """``commit`` is the state of the index before the last search."""

    commit: Commit = ()
    short: int = 0
    not_before: float = 0.0


class Paces:
    """How long plain searches took, by engine. Any thread may call; who comes between only makes it more
    careful. A search of ``short_seconds`` of CPU time is short."""

    def __init__(self, short_seconds: float = SHORT_SECONDS) -> None:
        self._short_seconds = short_seconds
        self._paces: WeakKeyDictionary[Engine, _Pace] = WeakKeyDictionary()

    def is_short(self, engine: Engine) -> bool:
        """Whether the next one will be short."""
        pace = self._paces.get(engine)
        return (
            pace is not None
            and pace.short >= ENOUGH
            and pace.not_before <= time.monotonic()
            and pace.commit == _commit_of(engine.path)
        )

    def watched(self, engine: Engine, search: Callable[[], T], *, keeps_waiting: bool) -> T:
        """What ``search`` finds; how long it takes is remembered. ``keeps_waiting``: all other requests, so
        that time counts; else it is on a thread, where it waits for others too, and its work counts."""
        pace, commit = self._paces.setdefault(engine, _Pace()), _commit_of(engine.path)
        started, worked, waits = time.monotonic(), time.thread_time(), _waits()
        try:
            return search()
        finally:
            now = time.monotonic()
            is_own = time.thread_time() - worked > LONG_SECONDS or _waits() != waits
            if keeps_waiting and now - started > LONG_SECONDS and is_own:
                if pace.short < MANY:
                    pace.not_before = now + PAUSE_SECONDS
                pace.short = ENOUGH
            elif keeps_waiting or time.thread_time() - worked <= self._short_seconds:
                pace.short += 1
            else:
                pace.short = 0
            pace.commit = commit


def _waits() -> int:
    """How often this thread has waited for something, a file for example; where that is not told, a number
    that never comes again."""
    if sys.platform != "linux":
        return time.monotonic_ns()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _commit_of(index: Path) -> Commit:
    """Differs after every commit, but for one within the grain of the file system's clock, which rewrites as
    many bytes: then a search waits for what it reads, and finds the same."""
    found = []
    for name in CATALOG:
        try:
            stat = os.stat(f"{index}/{name}")  # noqa: PTH116 - at every search
        except OSError:
            continue
        found.append((stat.st_mtime_ns, stat.st_size))
    return tuple(found)
