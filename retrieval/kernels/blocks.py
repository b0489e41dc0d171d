"""Build kernels on several threads: blocks of rows on a pool, each call serial and free of the GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from retrieval.building import blas_pools

__all__ = ["one_blas_thread", "over_blocks"]

T = TypeVar("T")


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


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to the calling thread, as the blocks already share the processor among themselves.

    The setting is the process's: for builds, not for requests.
    """
    limits: AbstractContextManager[Any] = blas_pools().limit(limits=1, user_api="blas")
    return limits
