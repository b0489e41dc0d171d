"""Scan against the running threshold in plain loops, which LLVM vectorises; also runs as plain Python.

A chunk of scores is read twice: once for the largest of each of a few groups, dealt in turns, and then,
if any of them is above the threshold, for the scores that are. Groups have different scores, so what the
maxima of ``k`` of them reach, ``k`` scores reach: that raises the threshold before the second pass, and
an ascending order is as good as a random one. What passes waits in order of its ordinal until there is
too much of it, and is then cut back to the best ``k``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = [
    "PADDING",
    "near_best",
    "near_best_free",
    "sorted_rows",
    "sorted_rows_free",
]

CHUNK = 16384
"""Scores in a chunk: they stay in the second-level cache."""
STEP = 32
"""Scores that are skipped together where none of them passes."""
GROUPS, FEWEST, MANY = 4, 256, 512
"""Maxima for each of the ``k``; the fewest in all; half as many for a ``k`` above this."""
PADDING = 0

_inner = njit(nogil=True, error_model="numpy", _nrt=False)
_SIGN, _BELOW_ZERO = 0x7FFFFFFF, -2


@_inner
def _deal(scores, accept, maxima):  # type: ignore[no-untyped-def]
    """The largest of the accepted scores dealt to each group; whether a score is NaN, accepted or not."""
    bad = np.uint32(0)
    maxima[:] = -np.inf
    for first in range(0, len(scores), len(maxima)):
        part = scores[first : first + len(maxima)]
        if len(accept):
            masks = accept[first : first + len(maxima)]
            for i in range(len(part)):
                x, largest = part[i], maxima[i]
                bad |= np.uint32(part[i] != part[i])
                x = x if x > largest else largest
                maxima[i] = x if masks[i] != 0 else largest
        else:
            for i in range(len(part)):
                bad |= np.uint32(part[i] != part[i])
                maxima[i] = part[i] if part[i] > maxima[i] else maxima[i]
    return bad != 0


@_inner
def _to_order(bits, order):  # type: ignore[no-untyped-def]
    """Bits of floats as integers of the same order."""
    for i in range(len(order)):
        order[i] = bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(_SIGN))


@_inner
def _reached(order, k, enough):  # type: ignore[no-untyped-def]
    """The largest number that ``k`` of ``order`` reach, or any that at most ``enough`` of them do as well."""
    least, most = order[0], order[0]
    for x in order:
        least, most = min(least, x), max(most, x)
    low, high = np.int64(least), np.int64(most)
    while low < high:
        middle = low + ((high - low + 1) >> 1)
        bound, count = np.int32(middle), np.int32(0)
        for x in order:
            count += np.int32(x >= bound)
        if count < k:
            high = middle - 1
        else:
            low = middle
            if count <= enough:
                break
    return low


@_inner
def _below(order):  # type: ignore[no-untyped-def]
    """Bits of the float before the one of ``order``; of a NaN, which all pass, where there is none."""
    before = order - 1
    if before == -1:
        before = _BELOW_ZERO  # -1 stands for -0.0, which zero is not above
    return np.int32(before ^ ((before >> 31) & _SIGN))


@_inner
def _append(scores, accept, first, last, start, bound, found, count):  # type: ignore[no-untyped-def]
    """Ordinals of what passes in ``scores[first:last]`` to ``found``, without branches; the new count."""
    if len(accept):
        for i in range(first, last):
            found[count] = start + i
            count += np.int64(not scores[i] <= bound) & np.int64(accept[i])
    else:
        for i in range(first, last):
            found[count] = start + i
            count += np.int64(not scores[i] <= bound)
    return count


@_inner
def _gather(scores, accept, start, bound, found, count):  # type: ignore[no-untyped-def]
    """Ordinals, counted from ``start``, of what passes to ``found`` from ``count`` on; the new count."""
    whole = len(scores) // STEP * STEP
    for first in range(0, whole, STEP):
        hit = np.uint32(0)
        for i in range(first, first + STEP):  # of a written length, so that it becomes vectors
            hit |= np.uint32(not scores[i] <= bound)
        if hit:
            count = _append(scores, accept, first, first + STEP, start, bound, found, count)
    return _append(scores, accept, whole, len(scores), start, bound, found, count)


@_inner
def _cut(scores, bits, found, order, count, k):  # type: ignore[no-untyped-def]
    """Keep the best ``k`` of ``count`` ordinals, in their order; the score of the last of them."""
    for i in range(count):
        # 0.0 and -0.0 are equal
        word = bits[found[i]] if scores[found[i]] != 0 else np.int32(0)
        order[i] = word ^ ((word >> np.int32(31)) & np.int32(_SIGN))
    least, above = _reached(order[:count], k, 0), 0
    for i in range(count):
        above += order[i] > least
    ties, kept, last = k - above, 0, 0
    for i in range(count):
        tied = order[i] == least
        keep = order[i] > least or (tied and ties > 0)
        ties -= tied
        found[kept] = found[i]
        last = found[i] if keep and tied else last
        kept += keep
    return scores[last]


@_inner
def _n_groups(k):  # type: ignore[no-untyped-def]
    return max(FEWEST, min(GROUPS * k, max(GROUPS * MANY, GROUPS * k // 2)) // 32 * 32)


@_inner
def _best(scores, bits, k, accept, found, order, maxima, bounds):  # type: ignore[no-untyped-def]
    """Ordinals of the best ``k``, ascending, to ``found``: how many, or -1 if there is a NaN.

    ``bits`` are the scores'; ``bounds`` is room for a float, as that and as its bits.
    """
    floats, words = bounds
    n, count, groups = len(scores), 0, len(maxima[0])
    floats[0] = np.nan if k else np.inf  # not (x <= NaN): all pass
    for start in range(0, n, CHUNK):
        chunk = scores[start : start + CHUNK]
        mask = accept[start : start + CHUNK] if len(accept) else accept
        if _deal(chunk, mask, maxima[0]):
            return -1
        above = 0
        for x in maxima[0]:
            above += not x <= floats[0]
        if above == 0:
            continue
        if above >= k > 0 and 2 * groups <= len(chunk):
            bound = floats[0]
            _to_order(maxima[1], order[:groups])
            words[0] = _below(_reached(order[:groups], k, k + k // 8))
            if floats[0] < bound:  # noqa: PLR1730 (a NaN is no bound); more than ``k`` of them reach it
                floats[0] = bound
        count = _gather(chunk, mask, start, floats[0], found, count)
        if count > 2 * k + STEP:
            floats[0], count = _cut(scores, bits, found, order, count, k), k
    if count > k:
        _cut(scores, bits, found, order, count, k)
        count = k
    return count


@_inner
def _write_keys(bits, scores, found, count, keys):  # type: ignore[no-untyped-def]
    """As in `retrieval.kernels.topk.avx512`: a smaller key is a better score, ties by ordinal."""
    for i in range(count):
        word = bits[found[i]] if scores[found[i]] != 0 else np.int32(0)
        order = word ^ ((word >> np.int32(31)) & np.int32(_SIGN))
        keys[i] = (np.int64(~order) << np.int64(32)) | found[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _room(n, k):  # type: ignore[no-untyped-def]
    """Scratch for `_best`: ordinals, their order, maxima and a bound, each of those as two types."""
    size = min(n, 2 * k + STEP + CHUNK) + STEP
    maxima, bound = np.empty(_n_groups(k), np.float32), np.empty(1, np.float32)
    order = np.empty(max(size, len(maxima)), np.int32)
    return np.empty(size, np.int64), order, (maxima, maxima.view(np.int32)), (bound, bound.view(np.int32))


@njit(cache=True, error_model="numpy")
def _all_keys(scores, bits, k, accept, keys):  # type: ignore[no-untyped-def]
    found, order, maxima, bounds = _room(scores.shape[1], k)
    count = 0
    for row in range(len(scores)):
        count = _best(scores[row], bits[row], k, accept, found, order, maxima, bounds)
        if count < 0:
            break
        _write_keys(bits[row], scores[row], found, count, keys[row])
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _all_keys_free(scores, bits, k, accept, keys):  # type: ignore[no-untyped-def]
    return _all_keys(scores, bits, k, accept, keys)


def _sorted(
    kernel: Any,
    scores: FloatArray,
    k: int,
    accept: NDArray[np.uint8],
    best: FloatArray,
    ordinals: IntArray,
) -> int:
    count: int = kernel(scores, scores.view(np.int32), k, accept, ordinals)
    if count > 0:
        keys = ordinals[:, :count]
        keys.sort(axis=1)  # NumPy's sorting uses what the machine has
        keys &= 0xFFFFFFFF
        for row, row_best, row_ordinals in zip(scores, best, keys, strict=True):
            row_best[:count] = row[row_ordinals]
    return count


def sorted_rows(
    scores: FloatArray, k: int, accept: NDArray[np.uint8], best: FloatArray, ordinals: IntArray
) -> int:
    """See `retrieval.kernels.topk.avx512.sorted_rows`; the same."""
    return _sorted(_all_keys, scores, k, accept, best, ordinals)


def sorted_rows_free(
    scores: FloatArray, k: int, accept: NDArray[np.uint8], best: FloatArray, ordinals: IntArray
) -> int:
    """`sorted_rows` without the GIL."""
    return _sorted(_all_keys_free, scores, k, accept, best, ordinals)


def near_best(scores: FloatArray, k: int, slack: Any, _accept: NDArray[np.uint8], out: IntArray) -> int:
    """See `retrieval.kernels.topk.avx512.near_best`; the same."""
    n = len(scores)
    largest = np.partition(scores, n - k)[n - k :]
    if np.isnan(largest.max()):  # NumPy orders it last
        return -1
    found = np.flatnonzero(scores >= largest[0] - slack)
    out[: len(found)] = found[: len(out)]
    return len(found)


near_best_free = near_best
