"""Threads that wait to help with one request: the asking thread works too, and waits for no helper to wake.

A sleeping thread needs some 50 microseconds to be there, and a stage of a search takes a few hundred. So work
is dealt in parts to whoever comes, and a helper that comes when all are taken finds nothing to do. Helpers
serve one request at a time: many at once have the processor busy without them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["over_parts", "over_turns", "together"]

LEAST = 32
"""Documents that are worth a thread of their own."""
PARTS = 2
"""Parts for each thread: one that comes late takes fewer."""
WAITING = 4
"""Offers that a helper may have before it, most of them withdrawn."""
PATIENCE = 10_000
"""How often a thread looks whether the others' last run is done, some 50 microseconds, before it sleeps."""


def over_parts(
    work: Callable[[IntArray], NDArray[Any]], ordinals: IntArray, threads: int, least: int = LEAST
) -> NDArray[Any]:
    """``work`` of ``ordinals``, one result for each, shared among threads for a single request in parts of
    ``least`` at least."""
    most = len(ordinals) // max(least, 1)
    if min(threads, most) < 2:
        return work(ordinals)
    parts = np.array_split(ordinals, min(PARTS * threads, most))
    done: list[Any] = [None] * len(parts)
    left = iter(range(len(parts)))

    def take() -> None:
        for i in left:
            done[i] = work(parts[i])

    jobs = _offer(take, threads)
    try:
        take()
    finally:
        for job in jobs:
            job.join()
    return np.concatenate(done)


def over_turns(work: Callable[[IntArray], Any], n: int, threads: int, least: int = LEAST) -> None:
    """``work(turns)``, a compiled function that takes turns at ``n`` pieces until none is left, here and on
    ``threads`` - 1 helpers, with ``least`` pieces for each. All are done then; a helper may still be on its
    way back."""
    from retrieval.kernels.turns import deal, is_finished  # imports Numba

    threads = min(threads, n // least)
    turns = deal(n, threads)
    if threads < 2:
        work(turns)
        return
    jobs = _offer(lambda: work(turns), threads)
    work(turns)
    begun = [job for job in jobs if not job.withdraw()]
    if begun and not is_finished(turns, n, PATIENCE):
        for job in begun:
            job.join()


def together(work: Callable[[bool], int], threads: int) -> int:
    """``work(True)`` here and ``work(False)`` on ``threads`` - 1 helpers, those that come in time: they share
    its turns, and know by themselves when nothing is left. What it gives here; not 0 where it gave up:
    helpers have ended then, and their errors are raised."""
    if threads < 2:
        return work(True)

    def help_along() -> None:
        work(False)

    jobs = _offer(help_along, threads)
    given = 1
    try:
        given = work(True)
    finally:
        begun = [job for job in jobs if not job.withdraw()]
        for job in begun if given else ():
            job.join()
    return given


class _Job:
    """Work that was offered to a helper: begun by it, or withdrawn."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work
        self._taken, self._ended = threading.Lock(), threading.Lock()
        self._error: BaseException | None = None
        self._ended.acquire()

    def run(self) -> None:
        if self._work is not None and self._taken.acquire(blocking=False):
            try:
                self._work()
            except BaseException as error:  # noqa: BLE001  (raised where the work was offered)
                self._error = error
            self._work = None
            self._ended.release()

    def withdraw(self) -> bool:
        """Whether nobody has begun it; nobody will then."""
        if not self._taken.acquire(blocking=False):
            return False
        self._work = None
        return True

    def join(self) -> None:
        """Wait until it has ended, if it was begun, and raise its error."""
        if not self.withdraw():
            with self._ended:
                pass
            if self._error is not None:
                raise self._error


def _serve(jobs: SimpleQueue[_Job]) -> None:
    while True:
        jobs.get().run()


_queues: list[SimpleQueue[_Job]] = []
_starting = threading.Lock()


def _offer(work: Callable[[], None], threads: int) -> list[_Job]:
    """Offer ``work`` to helpers that have little before them: what was withdrawn takes them no time."""
    if len(_queues) < threads - 1:
        _start(threads - 1)
    jobs = []
    for queue in _queues[: threads - 1]:
        if queue.qsize() < WAITING:
            jobs.append(_Job(work))
            queue.put(jobs[-1])
    return jobs


def _start(n: int) -> None:
    """Have ``n`` helpers, or as many as the system lets be started: who asks does what they would have."""
    with _starting:
        while len(_queues) < n:
            queue: SimpleQueue[_Job] = SimpleQueue()
            try:
                threading.Thread(target=_serve, args=(queue,), name="part", daemon=True).start()
            except RuntimeError:
                return
            _queues.append(queue)


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _queues, _starting
    _queues, _starting = [], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
