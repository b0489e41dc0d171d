"""The thread on which models encode queries, and how many cores an encoding may take.

OpenMP keeps a team of threads for every thread that calls a model. Two teams are more threads than there are
cores, and then none of them waits actively for the next layer any more: each layer pays for waking them, and
a query by MiniLM takes 14 ms where it took 7 (two cores). So queries are encoded on one thread, with all
cores, and documents on their caller's, with one core: a large write leaves the others to searches.

Where the event loop is busy, with vector queries for example, it takes a core, and a team that counts on all
of them waits at each layer until the system lets its last thread run: beside one client of vectors a text
took twice as long. So one core is left to a busy loop.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["ModelThread", "on_one_core"]

BUSY = 0.4
"""Share of the time that an event loop works, above which it is busy: with texts alone it is half of that."""
WINDOW_SECONDS = 0.1
"""Time over which that is looked at, at least: a batch of texts is answered in one go, which says nothing."""

T = TypeVar("T")

_deciding = threading.Lock()
_cores: list[int] = []


class ModelThread:
    """One thread; jobs take turns. Any thread may call, and so may its own jobs.

    The thread that makes it is the one to which a core is left while it is busy. ``executor`` is for who
    brings jobs of their own.
    """

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=self._begin)
        self._thread: int | None = None
        self._counting, self._jobs = threading.Lock(), 0
        self._maker = _Busyness()

    @property
    def is_here(self) -> bool:
        """Whether the caller is on it."""
        return threading.get_ident() == self._thread

    @property
    def is_wanted(self) -> bool:
        """Whether it runs something, or something waits for it, that came by `run`."""
        return self._jobs > 0

    def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``. Blocks until those before it, and it, are done."""
        if self.is_here:
            return self._on_cores(job)
        with self._counting:
            self._jobs += 1
        try:
            return self.executor.submit(self._on_cores, job).result()
        finally:
            with self._counting:
                self._jobs -= 1

    def _begin(self) -> None:
        self._thread = threading.get_ident()

    def _on_cores(self, job: Callable[[], T]) -> T:
        _take(None, spare=self._maker.is_busy())
        return job()

    def close(self) -> None:
        """Let what runs end; the rest is dropped."""
        self.executor.shutdown(wait=True, cancel_futures=True)


class _Busyness:
    """How much of the time the thread works that makes this; of systems that do not tell: never much."""

    def __init__(self) -> None:
        clock_of = getattr(time, "pthread_getcpuclockid", None)
        self._clock = None if clock_of is None else clock_of(threading.get_ident())
        self._looked, self._worked, self._is_busy = 0.0, 0.0, False

    def is_busy(self) -> bool:
        """Whether it worked most of the time since this was last asked."""
        now = time.monotonic()
        if self._clock is None or now - self._looked < WINDOW_SECONDS:
            return self._is_busy
        try:
            worked = time.clock_gettime(self._clock)
        except OSError:  # it has ended
            return False
        self._is_busy = worked - self._worked > BUSY * (now - self._looked)
        self._looked, self._worked = now, worked
        return self._is_busy


def on_one_core(job: Callable[[], T]) -> T:
    """``job`` on this thread, which from now on takes one core for a model."""
    _take(1)
    return job()


def _take(cores: int | None, *, spare: bool = False) -> None:
    """Tell torch, where there is one: the number is the calling thread's own. None: all, or one less."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "set_num_threads"):  # none, or still being imported
        return
    with _deciding:  # what torch itself chose is known only until somebody changes it
        if not _cores:
            _cores.append(torch.get_num_threads())
        wanted = max(1, _cores[0] - spare) if cores is None else cores
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)
