"""The best by tokens on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels import host
from retrieval.kernels.arrays import plain
from retrieval.kernels.centroid_maxsim.cpu import centroid_maxsim
from retrieval.kernels.centroid_maxsim.tables import LINE, aligned
from retrieval.kernels.centroid_scores.cpu import score_centroids
from retrieval.kernels.centroid_scores.reference import BLOCK, COLUMNS
from retrieval.kernels.gather.cpu import BLOCK as MOST
from retrieval.kernels.gather.cpu import DENSE_DOCUMENTS, gather
from retrieval.kernels.helpers import over_parts, together
from retrieval.kernels.token_best.prepared import TokenSegment
from retrieval.kernels.token_best.steps import Best, TokenDepth, step_by_step
from retrieval.kernels.token_rescore.cpu import best_exactly
from retrieval.kernels.topk.cpu import select
from retrieval.types import FloatArray, IntArray

__all__ = ["Best", "TokenDepth", "TokenSegment", "token_best"]

MANY = 2048
"""Documents by their centroids that are worth a thread of their own: they take it some 200 microseconds."""
LANES, STEP = 16, 32
"""Query tokens of a vector; dimensions that are multiplied in float64 at a time."""
SHORTEST, WIDEST = 32, 32768
"""Bytes of a stored token; see `retrieval.kernels.token_rescore.cpu`."""
STAGES, ROOM = 4, 24
_ALL = np.empty(0, np.bool_)
_ALL.flags.writeable = False


def token_best(
    probe: FloatArray,
    query: FloatArray,
    segment: TokenSegment,
    how: TokenDepth,
    k: int,
    slack: float,
    threads: int = 1,
    accept: NDArray[np.bool_] | None = None,
) -> Best:
    """See `retrieval.kernels.token_best.reference.token_best`; the same up to rounding, and nothing that is
    likely is taken for certain where it is done in one call."""
    if _fits(probe, query, segment, how, k) and (accept is None or _is_mask(accept, segment)):
        found = _in_one_call(probe, query, segment, how, k, threads, accept)
        if found is not None:
            return found

    def in_parts(table: Any, named: Any, starts: IntArray, ordinals: IntArray) -> NDArray[np.int32]:
        return over_parts(lambda some: centroid_maxsim(table, named, starts, some), ordinals, threads, MANY)

    steps = score_centroids, gather, in_parts, select, best_exactly
    return step_by_step(*steps, probe, query, segment, how, k, slack, threads, accept)


def _is_mask(accept: NDArray[Any], segment: TokenSegment) -> bool:
    return accept.dtype == np.bool_ and accept.shape == (len(segment.starts) - 1,)


def _fits(probe: FloatArray, query: FloatArray, segment: TokenSegment, how: TokenDepth, k: int) -> bool:
    """Whether this is what the one call is made for; what is wrong, the steps name."""
    tokens, centroids, dim = segment.tokens, segment.centroids, segment.tokens.codes.shape[1]
    if host.simd_level() != "avx512" or host.has_tiles() or not tokens.is_bytes:
        return False
    shapes = len(probe) == len(query) and probe.shape[1:] == (centroids.dim,) and query.shape[1:] == (dim,)
    types = probe.dtype == query.dtype == np.float32
    size = dim % 4 == 0 and SHORTEST <= dim <= WIDEST and 0 < len(query) <= COLUMNS
    enough = (
        k > 0 and how.depth > 0 and (0 < how.n_probe <= centroids.n if how.gathered else how.by_centroids)
    )
    return shapes and types and size and enough and 0 < len(segment.starts) - 1 <= DENSE_DOCUMENTS


def _in_one_call(
    probe: FloatArray,
    query: FloatArray,
    segment: TokenSegment,
    how: TokenDepth,
    k: int,
    threads: int,
    accept: NDArray[np.bool_] | None,
) -> Best | None:
    """None where something does not fit, or a helper that has some of the work is late."""
    (codes, center, n_centroids, known), own, octets = segment.fixed
    tokens, (n_q, dim) = segment.tokens, query.shape
    n, size, groups = len(segment.starts) - 1, segment.centroids.codes.shape[1], -(-n_q // LANES)
    block = min(MOST, -(-n // threads))
    told = np.empty((-(-n // block), 3), np.int64)
    probe, query, width = plain(probe), plain(query), -(-dim // STEP) * STEP
    rough, exactly = _query_room(n_q, dim, width, size, len(codes) // size, how)
    probed = _found_room(n_q, how, n + len(told))
    stored = (
        octets,
        tokens.offsets,
        tokens.steps,
        tokens.middles,
        tokens.doubts,
        tokens.norm,
        tokens.span,
        tokens.low,
    )
    depth, shape = min(how.depth, n), (dim, 0, groups, dim // 4, BLOCK * dim // (dim // 4))
    numbers, kept, scores = np.zeros(8, np.int64), np.empty(depth, np.int64), np.empty(depth, np.float32)
    given = (
        threads,
        (probe, probe.view(np.int32), query),
        (codes, center, n_centroids, known),
        size,
        own,
        _ALL if accept is None else plain(accept),
        stored,
        tuple(how),
        k,
        rough,
        probed,
        told,
        block,
        np.empty(n, np.int64),
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        exactly,
        shape,
        (dim, width),
        np.empty(depth, np.int64),
        np.empty(depth, np.float32),
        np.zeros(ROOM, np.int64),
        np.zeros((STAGES, ROOM), np.int64),
        numbers,
        np.empty(2),
        kept,
        scores,
    )
    kernel = _kernel()
    if together(lambda is_asking: kernel.run(is_asking, *given), threads) != kernel.DONE:
        return None
    _, scanned, _, visited, m = numbers[:5].tolist()
    return Best(kept[:m], scores[:m], scanned, visited)


def _query_room(
    n_q: int, dim: int, width: int, size: int, rows: int, how: TokenDepth
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Room for the query as products with the centroids (``rows`` of ``size`` bytes) take it, with what these
    give, and as products with stored tokens do."""
    groups = -(-n_q // LANES)
    packed, table, packed_codes, wide = _lines(
        groups * LANES * size,
        rows * COLUMNS if how.by_centroids else 0,
        groups * LANES * dim,
        8 * n_q * width,
    )
    levels, first = np.zeros((n_q, size), np.int8), np.empty((n_q, dim), np.int8)
    maxima = np.empty((1, rows // BLOCK * COLUMNS if how.gathered else 0), np.int16)
    offsets, numbers = np.empty(n_q, np.int32), np.empty((5, n_q))
    rough = levels, levels.view(np.uint32), offsets, numbers, packed.view(np.uint32), table, maxima
    spreads, lines, units = np.zeros(2 * LANES, np.int32), np.empty((n_q, 3)), np.zeros(2 * LANES, np.float32)
    codes, floats = packed_codes.view(np.uint32), wide.view(np.float64).reshape(n_q, width)
    return rough, (first, first.view(np.uint32), spreads, lines, units, codes, floats)


def _found_room(n_q: int, how: TokenDepth, room: int) -> tuple[NDArray[Any], ...]:
    """Room for the probed centroids, their scores and postings, and what these name."""
    shape = n_q, how.n_probe if how.gathered else 0
    numbers = np.empty(shape, np.int64), np.empty(shape, np.float32)
    runs = np.empty(shape, np.int64), np.empty(shape, np.int64)
    return *numbers, *runs, np.empty(room, np.int64), np.empty(room, np.float32)


def _lines(*sizes: int) -> list[NDArray[np.uint8]]:
    """Arrays of so many bytes, each of which begins on a cache line."""
    ends = list(accumulate(-(-size // LINE) * LINE for size in sizes))
    room = aligned((ends[-1],), np.uint8)
    return [room[end - -(-size // LINE) * LINE :][:size] for end, size in zip(ends, sizes, strict=True)]


@cache
def _kernel() -> Any:
    return import_module("retrieval.kernels.token_best.avx512")
