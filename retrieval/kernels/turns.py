"""Turns: how threads that run one kernel on the same arguments share its work, without Python between.

Work is ``n`` pieces in order, dealt in runs of a few to whoever asks next. A thread that comes late, or not
at all, takes the fewer: nobody waits for it, but for the run in its hands. Which thread takes what is chance;
what a piece gives must not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

from retrieval.types import IntArray

__all__ = [
    "deal",
    "deal_again",
    "finish",
    "follow",
    "has_come",
    "is_finished",
    "open_next",
    "take",
    "wait",
]

RUNS = 32
"""Runs for each thread: the last of them is what others wait for."""
NEXT, DONE, SIZE, ROOM = 0, 8, 16, 24
"""Places of an array of turns, two of which never share a cache line."""
_INT64 = ir.IntType(64)


def deal(n: int, threads: int = 1) -> IntArray:
    """Turns for ``n`` pieces; one run of all of them for a thread that is alone."""
    turns = np.zeros(ROOM, np.int64)
    _cut(turns, n, threads)
    return turns


def _cut(turns: IntArray, n: int, threads: int) -> None:
    turns[SIZE] = max(n // (RUNS * threads), 1) if threads > 1 else max(n, 1)


@intrinsic
def _add_together(_context: Any, array: Any, place: Any, value: Any) -> Any:
    """Add to a number that other threads add to, too; what it was before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        at = context.cast(builder, args[1], signature.args[1], types.int64)
        more = context.cast(builder, args[2], signature.args[2], types.int64)
        pointer = builder.gep(builder.bitcast(data, _INT64.as_pointer()), [at])
        return builder.atomic_rmw("add", pointer, more, "acq_rel")

    return types.int64(array, place, value), generate


def _add_alone(array: IntArray, place: int, value: int) -> int:
    before = int(array[place])
    array[place] += value
    return before


_add = _add_alone if config.DISABLE_JIT else _add_together
_inner = njit(nogil=True, error_model="numpy", _nrt=False)


@_inner
def take(turns, n):  # type: ignore[no-untyped-def]
    """The next run of ``n`` pieces, first and one after the last; twice ``n`` when none is left."""
    first = min(_add(turns, NEXT, turns[SIZE]), n)
    return first, min(first + turns[SIZE], n)


@_inner
def follow(turns, piece, stop, n):  # type: ignore[no-untyped-def]
    """The piece after one of a run that ends at ``stop``, and where its own run ends: after the last of a run
    the first of the next that is taken, so that its memory may be asked for in time."""
    if piece + 1 < stop:
        return piece + 1, stop
    return take(turns, n)


@_inner
def finish(turns, count):  # type: ignore[no-untyped-def]
    """All that this thread took, so many pieces, is done, and may be read by whoever sees that."""
    _add(turns, DONE, count)


@_inner
def _reaches(turns, place, least, patience):  # type: ignore[no-untyped-def]
    for _ in range(patience):  # noqa: SIM110  (compiled)
        if _add(turns, place, 0) >= least:
            return True
    return False


@_inner
def wait(turns, n, patience):  # type: ignore[no-untyped-def]
    """Whether all ``n`` pieces are done, asked up to ``patience`` times."""
    return _reaches(turns, DONE, n, patience)


@njit(cache=True, error_model="numpy")
def is_finished(turns, n, patience):  # type: ignore[no-untyped-def]
    """`wait`, but for the GIL, which it keeps: a thread that has nothing more to do would take it now, and
    that takes longer than the last run."""
    return wait(turns, n, patience)


deal_again = _inner(_cut)
"""`deal` of what is known only inside a kernel, into turns that nobody has taken yet."""


@_inner
def open_next(stages):  # type: ignore[no-untyped-def]
    """One more stage of some work may be begun: what it reads is there, by whoever `has_come` so far."""
    _add(stages, NEXT, 1)


@_inner
def has_come(stages, stage, patience):  # type: ignore[no-untyped-def]
    """Whether so many stages are open, asked up to ``patience`` times."""
    return _reaches(stages, NEXT, stage, patience)
