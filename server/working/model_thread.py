"""The thread on which models encode queries, and how many cores an encoding may take.

OpenMP keeps a team of threads for every thread that calls a model. Two teams are more threads than there are
cores, and then none of them waits actively for the next layer any more: each layer pays for waking them, and
a query by MiniLM takes 14 ms where it took 7 (two cores). So queries are encoded on one thread, with all
cores, and documents on their caller's, with one core: a large write leaves the others to searches.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["ModelThread", "on_one_core", "spin_briefly"]

SPINS = "10000"
"""Rounds in which a thread of OpenMP waits busily for the next layer, half a millisecond: layers follow each
other sooner, queries do not. GNU's own number is thirty times as large, and keeps a core from whoever reads
the next request; with 2,000 threads fall asleep between layers, and a query takes 2 ms longer."""

T = TypeVar("T")

_deciding = threading.Lock()
_cores: list[int] = []


class ModelThread:
    """One thread; jobs take turns. Any thread may call, but none of its own jobs."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")

    def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``. Blocks until those before it, and it, are done."""
        return self._executor.submit(_on_all_cores, job).result()

    def close(self) -> None:
        """Let what runs end; the rest is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def spin_briefly() -> None:
    """Have idle threads of OpenMP give up their cores soon, unless the environment says how they wait. To be
    called before torch is imported: its OpenMP reads that once."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def on_one_core(job: Callable[[], T]) -> T:
    """``job`` on this thread, which from now on takes one core for a model."""
    _take(1)
    return job()


def _on_all_cores(job: Callable[[], T]) -> T:
    _take(None)
    return job()


def _take(cores: int | None) -> None:
    """Tell torch, where there is one: the number is the calling thread's own."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "set_num_threads"):  # none, or still being imported
        return
    with _deciding:  # what torch itself chose is known only until somebody changes it
        if not _cores:
            _cores.append(torch.get_num_threads())
        wanted = _cores[0] if cores is None else cores
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)
