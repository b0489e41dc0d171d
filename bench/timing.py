"""Questions asked one after another, by one thread or by several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["latencies", "workers"]


def latencies(ask: Callable[[Any], object], queries: Iterable[Any]) -> NDArray[np.float64]:
    """Seconds that each answer took."""
    clock = time.perf_counter
    ends = [clock()]
    for query in queries:
        ask(query)
        ends.append(clock())
    return np.diff(ends)


@contextmanager
def workers(threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """A pool whose threads may start none of their own (OpenMP counts by the thread that asks); None
    where one thread is enough."""
    if threads == 1:
        yield None
        return
    with ThreadPoolExecutor(threads, initializer=lambda: threadpool_limits(1)) as pool:
        yield pool
