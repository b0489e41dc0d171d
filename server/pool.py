"""The threads that search: the event loop only reads requests and writes answers."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["SearchPool"]

T = TypeVar("T")


class SearchPool:
    """At most ``threads`` searches at one time; further ones wait in order."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="search")

    async def run(self, job: Callable[[], T]) -> T:
        """Run ``job`` on a thread of the pool, with the caller's context variables."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._executor, context.run, job)

    def close(self) -> None:
        """Wait for the running jobs and drop those that have not begun. Blocks."""
        self._executor.shutdown(wait=True, cancel_futures=True)
