"""A query rounded for stored tokens, and how much that may change: plain loops, also plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["FAR", "LEVELS", "SIGMAS", "bound_each", "quantise_all", "quantise_each", "spread_floats"]

LEVELS = 127
FAR = 2**30
"""More than any two inner products of bytes lie apart: every token may be the best."""
SIGMAS = 4.0
"""Standard deviations of a difference of two scores after which their order is taken for certain."""
OVERFLOW = 1e38
"""Inner products from here on may leave float32."""
ROUNDING = 1.5 * 2.0**52
"""A float64 around which the next ones are integers."""

_strict = njit(nogil=True, error_model="numpy", _nrt=False)
_fast = njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"contract", "reassoc"})


@_strict
def _round(query, steps, unit, codes, rests):  # type: ignore[no-untyped-def]
    """A query token by ``unit`` to ``codes``, to the nearest, ties to even; what is lost to ``rests``."""
    for j in range(len(query)):
        folded = query[j] * steps[j]
        # Not by a function, so that several are rounded at once: sums of that size are integers.
        nearest = (folded / unit + ROUNDING) - ROUNDING if unit > 0 else 0.0
        codes[j] = np.int8(nearest)
        rests[j] = folded - unit * nearest


@_fast
def _largest(query, steps):  # type: ignore[no-untyped-def]
    largest = 0.0
    for j in range(len(query)):
        largest = max(largest, abs(query[j] * steps[j]))
    return largest


@_fast
def _measure(query, inverse, middles, doubts, codes, rests):  # type: ignore[no-untyped-def]
    """Of a rounded token: sum of the rests, squared length of the rests as vectors see them, doubt about
    decoded numbers, product with the middles of what is not lost, sum of the codes."""
    total = square = doubt = middle = 0.0
    count = 0
    for j in range(len(query)):
        seen = rests[j] * inverse[j]
        total += abs(rests[j])
        square += seen * seen
        doubt += (abs(query[j]) + abs(seen)) * doubts[j]
        middle += (query[j] - seen) * middles[j]
        count += codes[j]
    return total, square, doubt, middle, count


@njit(nogil=True, cache=True, error_model="numpy")
def quantise_each(query, steps, middles, doubts, norm, codes, spreads, lines):  # type: ignore[no-untyped-def]
    """Each query token to int8 by a unit of its own, for plain bytes.

    ``codes`` ``(n_q, d)`` int8. ``spreads`` ``(n_q,)`` int32: a document token whose product with the
    codes is less than another's by more than that has a smaller inner product, too, as float64 finds
    it. What is lost of a query token, its rest, changes a difference of two products by no more than
    255 times the sum of the rests; nor by more than the tokens' distance times the length of
    the rests as the vectors see them. ``lines`` ``(n_q, 3)``: an inner product times the first less the
    second is a product that a token needs at least, to have that inner product; no inner product is larger
    than the third and the unit, which is 1 by the first, times the product.
    """
    inverse, rests = np.empty(len(steps)), np.empty(len(steps))
    for j in range(len(steps)):
        inverse[j] = 1 / steps[j] if steps[j] > 0 else 0.0
    for q in range(len(query)):
        unit = _largest(query[q], steps) / LEVELS
        _round(query[q], steps, unit, codes[q], rests)
        total, square, doubt, middle, count = _measure(query[q], inverse, middles, doubts, codes[q], rests)
        reach = 1.001 * norm * np.sqrt(square) + 2 * doubt
        apart = min(255.1 * total + 2 * doubt, 2 * reach)
        room = apart / unit + 2 if unit > 0 else np.inf
        spreads[q] = np.int32(room) if room < FAR else FAR  # also where it is NaN
        scale = 1 / unit if unit > 0 else 0.0
        lines[q, 0], lines[q, 1] = scale, (middle + reach) * scale - 128 * count + 2 if unit > 0 else np.inf
        lines[q, 2] = middle + reach - 128 * unit * count


@njit(nogil=True, cache=True, error_model="numpy")
def spread_floats(query, norm, spreads):  # type: ignore[no-untyped-def]
    """As `quantise_each` for floats ``spreads`` ``(n_q,)`` float32: twice what sums in float32 may be
    wrong by. NaN where they may overflow: then nothing can be said."""
    for q in range(len(query)):
        square = 0.0
        for j in range(query.shape[1]):
            square += np.float64(query[q, j]) * np.float64(query[q, j])
        size = 1.01 * np.sqrt(square) * norm
        spreads[q] = (query.shape[1] + 8) * 2.0**-23 * size + 2.0**-120 if size < OVERFLOW else np.nan


@_fast
def _add_alike(rests):  # type: ignore[no-untyped-def]
    """The sum of the rows' inner products with each other, without negative ones."""
    total = 0.0
    for q in range(len(rests)):
        for p in range(q + 1):
            product = np.float32(0)
            for j in range(rests.shape[1]):
                product += rests[q, j] * rests[p, j]
            if product > 0:
                total += np.float64(product) * (1 if p == q else 2)
    return total


@_fast
def _summarise(query, middles, doubts, mean, codes, rests):  # type: ignore[no-untyped-def]
    """Of a rounded token: constant of its scores, doubt about decoded numbers, sums of the rests' and
    of the codes' sizes."""
    constant = doubt = total = 0.0
    size = np.int64(0)
    for j in range(len(query)):
        constant += query[j] * middles[j] + rests[j] * mean[j]
        doubt += abs(query[j]) * doubts[j]
        total += abs(rests[j])
        size += abs(np.int64(codes[j]))
    return constant, doubt, total, size


@njit(nogil=True, cache=True, error_model="numpy")
def quantise_all(query, steps, middles, doubts, mean, variance, levels, codes):  # type: ignore[no-untyped-def]
    """The query to int8 ``codes`` ``(n_q, d)`` by one unit: ``(unit, constant, error)``, see
    `retrieval.kernels.token_rescore.reference.quantise`."""
    unit = constant = doubt = total = size = 0.0
    for q in range(len(query)):
        unit = max(unit, _largest(query[q], steps))
    unit /= levels
    deviation, rests = np.sqrt(variance), np.empty(len(steps))
    scaled = np.empty(query.shape, np.float32)
    for q in range(len(query)):
        _round(query[q], steps, unit, codes[q], rests)
        some = _summarise(query[q], middles, doubts, mean, codes[q], rests)
        constant, doubt, total = constant + some[0], doubt + some[1], total + some[2]
        size += unit * some[3]
        for j in range(len(rests)):
            scaled[q, j] = rests[j] / unit * deviation[j] if unit > 0 else 0
    error = min(255 * total, SIGMAS * unit * np.sqrt(2 * _add_alike(scaled)))
    return unit, constant, error + 2 * doubt + 2.0**-22 * (abs(constant) + 128 * size)


@njit(nogil=True, cache=True, error_model="numpy")
def bound_each(lines, codes, units):  # type: ignore[no-untyped-def]
    """By how much a score may exceed the sum of the largest products with plain bytes, each times its token's
    unit (to ``units``), also where that is summed in float32, and where a score becomes one. ``lines`` and
    ``codes`` by `quantise_each`. Infinite where float32 may overflow: then nothing is known."""
    bound, size, counts = 0.0, 0.0, 1.0
    for q in range(len(lines)):
        units[q] = 1 / lines[q, 0] if lines[q, 0] > 0 else 0.0
        levels = 0.0
        for j in range(codes.shape[1]):
            levels += abs(np.float64(codes[q, j]))
        bound += lines[q, 2]
        size += abs(lines[q, 2]) + 256 * np.float64(units[q]) * levels
        counts += 256 * levels
    if not size < OVERFLOW:
        return np.inf
    # Below the least normal number float32 rounds by as much as there.
    return bound + 2.0**-20 * size + 2.0**-149 * counts
