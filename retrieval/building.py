"""How long work on an index is done: on how many threads, and who is told how far it is.

Whoever starts it knows; loops many calls below need it. Between them lie rooms that care for neither, so
both are kept beside the calls, for the thread that does the work (its helpers get what they need from it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

from retrieval.types import TrainingProgress

__all__ = ["blas_pools", "building", "holding_blas", "silent", "teller", "threads_to_use"]


def silent(stage: str, fraction: float | None) -> None:
    """Progress that nobody wants to see."""


_threads: ContextVar[int | None] = ContextVar("threads", default=None)
_tell: ContextVar[TrainingProgress] = ContextVar("tell", default=silent)


@contextmanager
def building(threads: int | None = None, tell: TrainingProgress | None = None) -> Iterator[None]:
    """Train, code and measure inside on ``threads`` at most, and tell ``tell`` of the stages; None: as
    outside, and outside of all on every core that the process may use.
    """
    outside = _threads.set(_threads.get() if threads is None else threads)
    told = _tell.set(_tell.get() if tell is None else tell)
    try:
        yield
    finally:
        _tell.reset(told)
        _threads.reset(outside)


def threads_to_use() -> int:
    """Threads that the work may take."""
    return _threads.get() or len(os.sched_getaffinity(0))


def holding_blas() -> AbstractContextManager[Any]:
    """Keep BLAS to these threads too, where a number was given. That is the process's setting: for training,
    not for what happens with every write.
    """
    threads = _threads.get()
    if threads is None:
        return nullcontext()
    limits: AbstractContextManager[Any] = blas_pools().limit(limits=threads, user_api="blas")
    return limits


def teller() -> TrainingProgress:
    """Who is to be told of a stage, and of the share of it that is done."""
    return _tell.get()


@cache
def blas_pools() -> Any:
    """The libraries whose threads can be counted (threadpoolctl); looked for once, which takes a while."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
