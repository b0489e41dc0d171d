"""Build kernels on several threads: blocks of rows on a pool, each call serial and free of the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.building import blas_pools
from retrieval.types import IntArray

__all__ = ["one_blas_thread", "over_blocks", "over_parts"]

T = TypeVar("T")
LEAST = 32
"""Documents that are worth a thread of their own."""


def over_blocks(work: Callable[[int, int], T], n: int, block: int, threads: int = 1) -> list[T]:
    """Call ``work(start, stop)`` on consecutive blocks of ``range(n)``; the results in order.

    Raises:
        ValueError: fewer than one thread.
    """
    if threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    starts = range(0, n, block)
    if threads == 1 or len(starts) < 2:
        return [work(start, min(start + block, n)) for start in starts]
    with ThreadPoolExecutor(threads, thread_name_prefix="kernel") as pool:
        return list(pool.map(lambda start: work(start, min(start + block, n)), starts))


def over_parts(
    work: Callable[[IntArray], NDArray[Any]], ordinals: IntArray, threads: int, least: int = LEAST
) -> NDArray[Any]:
    """``work`` of ``ordinals``, one result for each, shared among threads for a single request: each takes a
    part of ``least`` at least, the calling one the first."""
    threads = min(threads, len(ordinals) // max(least, 1))
    if threads < 2:
        return work(ordinals)
    first, *others = np.array_split(ordinals, threads)
    waiting = [_helpers().submit(work, part) for part in others]
    done = [work(first)]
    return np.concatenate(done + [each.result() for each in waiting])


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads that wait for parts of requests: started once, as that takes longer than a part."""
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # a child has none of them
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="part")


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to the calling thread, as the blocks already share the processor among themselves.

    The setting is the process's: for builds, not for requests.
    """
    limits: AbstractContextManager[Any] = blas_pools().limit(limits=1, user_api="blas")
    return limits
