"""The best by tokens in one call with AVX-512, shared by the threads that come.

Four stages are dealt in runs (`retrieval.kernels.turns`): the centroids' scores, the postings, the documents'
centroids, the stored tokens. What lies between is done by the thread that asks. It waits for nobody but for
a run in somebody's hands; who comes late, or never, takes fewer runs, or none. Several threads of a process
that ask short queries pass Python's lock to each other at every call: here once a query.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.centroid_maxsim.avx512 import score_u8
from retrieval.kernels.centroid_scores.avx512 import LEVELS, per_lane, scan_blocks
from retrieval.kernels.centroid_scores.probes import best_centroids
from retrieval.kernels.centroid_scores.query import round_tokens
from retrieval.kernels.centroid_scores.reference import BLOCK, COLUMNS
from retrieval.kernels.gather.cpu import gather_in_turns
from retrieval.kernels.maxsim.packing import to_lanes
from retrieval.kernels.token_rescore.avx512 import score_in_turns
from retrieval.kernels.token_rescore.query import bound_each, quantise_each
from retrieval.kernels.topk.avx512 import PADDING, near_best, sorted_rows
from retrieval.kernels.turns import deal_again, finish, has_come, open_next, take, wait

__all__ = ["DONE", "run"]

DONE, LEFT, WRONG, LATE = 0, 1, 2, 3
"""All is done; a helper left; something does not fit, which the steps will name; a helper is late."""
PATIENCE = 200_000
"""How often a thread looks whether another one is ready, some milliseconds, before it leaves."""
CHOSEN, SCANNED, CANDIDATES, VISITED, KEPT = 0, 1, 2, 3, 4
START, ADDED = 0, 1
"""Places of what the asking thread tells, integers and floats."""
_inner = njit(nogil=True, error_model="numpy")


@_inner
def _prepare(asked, coarse, stored, rough, exactly, floats):  # type: ignore[no-untyped-def]
    """The query as both kinds of products take it; whether it is finite, and its scores are."""
    probe, bits, query = asked
    _, center, _, known = coarse
    _, _, steps, middles, doubts, norm, _, _ = stored
    levels, words, offsets, numbers, packed = rough[:5]
    codes, code_words, spreads, lines, units, packed_codes, wide = exactly[:7]
    if not round_tokens(probe, bits, center, known, levels, offsets, numbers):
        return False
    to_lanes(words, packed)
    quantise_each(query, steps, middles, doubts, norm, codes, spreads, lines)
    for q in range(len(spreads)):
        spreads[q] += 1  # what equals a limit is not above it
    floats[ADDED] = bound_each(lines, codes, units)
    if not floats[ADDED] < np.inf:
        return False
    to_lanes(code_words, packed_codes)
    wide[:] = 0
    wide[:, : query.shape[1]] = query
    return True


@_inner
def _unit_and_shift(numbers, known):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.centroid_scores.avx512.score`."""
    step, longest, _ = known
    unit, largest = numbers[2].max() / 255, np.int64(numbers[3].max() * longest / step / LEVELS + 1)
    shift = 0
    while largest:
        largest, shift = largest >> 1, shift + 1
    return unit if unit > 0 else 1.0, shift


@_inner
def _score_centroids(coarse, rough, size, has_table, turns):  # type: ignore[no-untyped-def]
    codes, _, _, known = coarse
    _, _, offsets, numbers, packed, table, maxima = rough
    unit, shift = _unit_and_shift(numbers, known)
    sums = (offsets, numbers[1], numbers[0]), (unit if has_table else 0.0, 0.0), COLUMNS
    start, groups, scales = per_lane(*sums)
    blocks, none = len(codes) // (size * BLOCK), np.empty((1, 0), np.int16)
    count = 0
    first, stop = take(turns, blocks)
    while first < blocks:
        scan_blocks(
            codes,
            size,
            shift,
            (first, stop),
            packed.view(np.int8),
            start,
            groups,
            scales,
            table,
            none,
            maxima,
        )
        count += stop - first
        first, stop = take(turns, blocks)
    finish(turns, count)


@_inner
def _follow(coarse, size, own, rough, probed, told, floats):  # type: ignore[no-untyped-def]
    """The best centroids, and the runs of their postings; how many these are."""
    codes, _, n, known = coarse
    levels, _, offsets, numbers = rough[:4]
    maxima, (probes, gains, begins, ends) = rough[6], probed[:4]
    shift = _unit_and_shift(numbers, known)[1]
    stored = codes, size, n, shift
    best_centroids(
        stored, levels, (offsets, numbers[1], numbers[0]), maxima.reshape((1, -1, COLUMNS)), probes, gains
    )
    posting_starts, total, count = own[2], 0.0, 0
    for q in range(len(probes)):
        missing = gains[q, -1]
        total += np.float64(missing)
        for p in range(probes.shape[1]):
            gains[q, p] -= missing
            begins[q, p], ends[q, p] = posting_starts[probes[q, p]], posting_starts[probes[q, p] + 1]
            count += ends[q, p] - begins[q, p]
    floats[START] = total
    told[:] = 0
    return count


@_inner
def _join(told, count, ordinals, sums):  # type: ignore[no-untyped-def]
    """What was gathered in blocks, together; how many documents, or -1 where postings leave the documents."""
    found = 0
    for b in range(len(told)):
        if told[b, 0] < 0:
            return -1
        count -= told[b, 1]
        first = told[b, 2]
        if first > found:
            for i in range(told[b, 0]):
                ordinals[found + i], sums[found + i] = ordinals[first + i], sums[first + i]
        found += told[b, 0]
    return found if count == 0 else -1


@_inner
def _near_best(scores, k):  # type: ignore[no-untyped-def]
    """Positions of the best ``k`` and of all that tie with the last."""
    n = len(scores)
    if n <= k:
        return np.arange(n)
    out = np.empty(n + PADDING, np.int64)
    return out[: max(near_best(scores, k, np.float32(0), np.empty(0, np.uint8), out), 0)]


@_inner
def _choose(own, accept, how, probed, told, count, chosen, estimates, numbers):  # type: ignore[no-untyped-def]
    """The best of the documents that postings name, or all accepted ones; whether they could be read."""
    _, _, _, _, ordinals, sums = probed
    n = len(own[1]) - 1
    if how[1]:
        found = _join(told, count, ordinals, sums)
        if found < 0:
            return False
        kept = _near_best(sums[:found], how[1])
        for i in range(len(kept)):
            chosen[i], estimates[i] = ordinals[kept[i]], sums[kept[i]]
        numbers[CHOSEN] = len(kept)
    else:
        everywhere, found = len(accept) == 0, 0
        for i in range(n):  # each is written over the last one that did not count
            chosen[found] = i
            found += np.int64(everywhere or accept[i])
        numbers[CHOSEN] = found
    numbers[SCANNED] = count
    return True


@_inner
def _score_named(own, n_centroids, table, chosen, sums, turns):  # type: ignore[no-untyped-def]
    """The chosen documents by all their centroids. One that is damaged has -1."""
    named, starts, n, count = own[0], own[1], len(chosen), 0
    first, stop = take(turns, n)
    while first < n:
        some = chosen[first:stop], True, sums[first:stop]
        wrong = score_u8(table, COLUMNS, n_centroids, named, starts, *some)
        if wrong >= 0:
            sums[first] = -1
        count += stop - first
        first, stop = take(turns, n)
    finish(turns, count)


@_inner
def _rank(own, how, rough, known, chosen, sums, estimates, candidates, offsets, numbers):  # type: ignore[no-untyped-def]
    """The best by estimates, best first, to ``candidates``; whether all documents could be read."""
    starts, n = own[1], numbers[CHOSEN]
    if how[3]:
        base, lowest, unit = rough[3][0], 0.0, _unit_and_shift(rough[3], known)[0]
        for q in range(len(base)):
            lowest += np.float64(np.float32(base[q]))
        for i in range(n):
            if sums[i] < 0:
                return False
            estimates[i] = np.float32(sums[i] * unit + lowest)
            numbers[SCANNED] += starts[chosen[i] + 1] - starts[chosen[i]]
    depth = min(n, how[2])
    best, order = np.empty((1, depth), np.float32), np.empty((1, depth), np.int64)
    if sorted_rows(estimates[:n].reshape((1, n)), depth, np.empty(0, np.uint8), best, order) < 0:
        return False
    numbers[CANDIDATES] = depth
    for i in range(depth):
        candidates[i] = chosen[order[0, i]]
        numbers[VISITED] += offsets[candidates[i] + 1] - offsets[candidates[i]]
    return True


@_inner
def _score_exactly(stored, exactly, shape, dims, candidates, k, added, turns, exact):  # type: ignore[no-untyped-def]
    octets, offsets, _, _, _, _, span, low = stored
    _, _, spreads, lines, units, packed, wide = exactly[:7]
    n_q, bar = len(wide), (units, added)
    score_in_turns(
        octets,
        octets,
        offsets,
        candidates,
        shape,
        packed.view(np.int8),
        spreads,
        lines,
        n_q,
        dims,
        span,
        low,
        wide.reshape(-1),
        bar,
        k if k < len(candidates) else 0,
        turns,
        exact,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def run(  # type: ignore[no-untyped-def]
    is_asking,
    threads,
    asked,
    coarse,
    size,
    own,
    accept,
    stored,
    how,
    k,
    rough,
    probed,
    told,
    block,
    chosen,
    sums,
    estimates,
    exactly,
    shape,
    dims,
    candidates,
    exact,
    stages,
    turns,
    numbers,
    floats,
    kept,
    scores,
):
    """`reference.token_best` into ``kept`` and ``scores``, `KEPT` of them, by the thread that asks and those
    that help: `DONE`, or why not.

    ``asked`` is the probe, its bits, the query; ``coarse`` (flat codes of ``size`` bytes, center, how many,
    what `round_tokens` knows); ``own`` and ``stored`` are a segment's documents and tokens, ``accept`` is
    a mask of those (empty: all), ``how`` a `TokenDepth`. The rest is scratch: everybody reads what the asking
    thread writes between the stages.
    """
    blocks = len(coarse[0]) // (size * BLOCK)
    if is_asking:
        if not _prepare(asked, coarse, stored, rough, exactly, floats):
            return WRONG
        deal_again(turns[0], blocks, threads)
        open_next(stages)
    elif not has_come(stages, 1, PATIENCE):
        return LEFT
    _score_centroids(coarse, rough, size, how[3], turns[0])
    count = 0
    if is_asking:
        if not wait(turns[0], blocks, PATIENCE):
            return LATE
        if how[1]:
            count = _follow(coarse, size, own, rough, probed, told, floats)
        deal_again(turns[1], len(told), threads)
        open_next(stages)
    elif not has_come(stages, 2, PATIENCE):
        return LEFT
    if how[1]:
        _, gains, begins, ends, ordinals, found = probed
        n, start = len(own[1]) - 1, np.float32(floats[START])
        gather_in_turns(begins, ends, gains, own[3], n, accept, start, block, turns[1], ordinals, found, told)
    if is_asking:
        if how[1] and not wait(turns[1], len(told), PATIENCE):
            return LATE
        if not _choose(own, accept, how, probed, told, count, chosen, estimates, numbers):
            return WRONG
        deal_again(turns[2], numbers[CHOSEN], threads)
        open_next(stages)
    elif not has_come(stages, 3, PATIENCE):
        return LEFT
    if how[3]:
        some = numbers[CHOSEN]
        _score_named(own, coarse[2], rough[5], chosen[:some], sums[:some], turns[2])
    if is_asking:
        if how[3] and not wait(turns[2], numbers[CHOSEN], PATIENCE):
            return LATE
        if not _rank(own, how, rough, coarse[3], chosen, sums, estimates, candidates, stored[1], numbers):
            return WRONG
        deal_again(turns[3], numbers[CANDIDATES], threads)
        open_next(stages)
    elif not has_come(stages, 4, PATIENCE):
        return LEFT
    n = numbers[CANDIDATES]
    _score_exactly(stored, exactly, shape, dims, candidates[:n], k, floats[ADDED], turns[3], exact[:n])
    if not is_asking:
        return LEFT
    if not wait(turns[3], n, PATIENCE):
        return LATE
    best = _near_best(exact[:n], k)
    for i in range(len(best)):
        kept[i], scores[i] = candidates[best[i]], exact[best[i]]
    numbers[KEPT] = len(best)
    return DONE
