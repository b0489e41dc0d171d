"""The inner loops: eight document tokens against 32 or 16 query tokens, sums in registers."""

from __future__ import annotations

from numba import njit

from retrieval.kernels.maxsim.lanes import largest, multiply_add, query_vector
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.memory import broadcast4, prefetch

__all__ = [
    "AS_IS",
    "BFLOAT16",
    "BLOCK",
    "FLOAT16",
    "add8",
    "eight",
    "inner",
    "largest8",
    "multiply_pair",
    "multiply_single",
    "prefetch_document",
]

BLOCK = 8
"""Document tokens in a block."""
AS_IS, FLOAT16, BFLOAT16 = 0, 1, 2
"""How values become what the packed query is multiplied with: as they are, or widened to float32."""

inner = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
"""For functions inside a kernel. Without NRT Numba does not count references to arrays at every
call, which took four times as long as scoring a short document."""


@inner
def eight(v):  # type: ignore[no-untyped-def]
    """A vector for each token of a block."""
    return v, v, v, v, v, v, v, v


@inner
def _step_pair(a, b, source, rows, k, packed, q):  # type: ignore[no-untyped-def]
    """Bytes ``k`` to ``k + 4`` of eight tokens times vectors ``q`` and ``q + 1`` of the query."""
    qa, qb = query_vector(packed, q), query_vector(packed, q + 1)
    t = broadcast4(source, rows[0] + k)
    a0, b0 = multiply_add(a[0], t, qa), multiply_add(b[0], t, qb)
    t = broadcast4(source, rows[1] + k)
    a1, b1 = multiply_add(a[1], t, qa), multiply_add(b[1], t, qb)
    t = broadcast4(source, rows[2] + k)
    a2, b2 = multiply_add(a[2], t, qa), multiply_add(b[2], t, qb)
    t = broadcast4(source, rows[3] + k)
    a3, b3 = multiply_add(a[3], t, qa), multiply_add(b[3], t, qb)
    t = broadcast4(source, rows[4] + k)
    a4, b4 = multiply_add(a[4], t, qa), multiply_add(b[4], t, qb)
    t = broadcast4(source, rows[5] + k)
    a5, b5 = multiply_add(a[5], t, qa), multiply_add(b[5], t, qb)
    t = broadcast4(source, rows[6] + k)
    a6, b6 = multiply_add(a[6], t, qa), multiply_add(b[6], t, qb)
    t = broadcast4(source, rows[7] + k)
    a7, b7 = multiply_add(a[7], t, qa), multiply_add(b[7], t, qb)
    return (a0, a1, a2, a3, a4, a5, a6, a7), (b0, b1, b2, b3, b4, b5, b6, b7)


@inner
def _step_single(a, source, rows, k, packed, q):  # type: ignore[no-untyped-def]
    """As `_step_pair`, with one vector of the query."""
    v = query_vector(packed, q)
    return (
        multiply_add(a[0], broadcast4(source, rows[0] + k), v),
        multiply_add(a[1], broadcast4(source, rows[1] + k), v),
        multiply_add(a[2], broadcast4(source, rows[2] + k), v),
        multiply_add(a[3], broadcast4(source, rows[3] + k), v),
        multiply_add(a[4], broadcast4(source, rows[4] + k), v),
        multiply_add(a[5], broadcast4(source, rows[5] + k), v),
        multiply_add(a[6], broadcast4(source, rows[6] + k), v),
        multiply_add(a[7], broadcast4(source, rows[7] + k), v),
    )


@inner
def multiply_pair(a, b, source, rows, packed, first, steps, last, values, ahead, pace):  # type: ignore[no-untyped-def]
    """Eight document tokens against 32 query tokens.

    ``a`` and ``b`` are eight vectors each to add to, for the first 16 query tokens and the others;
    they are returned. ``source`` holds bytes, ``rows`` where each token begins in it, ``last`` where
    its last four bytes are, from there: a last step of fewer bytes steps back, onto zeros of the
    packed query. ``first`` is the index of the query's first vector. From byte ``ahead`` of
    ``values`` on, every step asks for another ``pace`` bytes.

    Four steps at a time: what a loop counts with takes the ports that multiply.
    """
    whole = (last + 4) // 16 * 4
    for j in range(0, whole, 4):
        k, q = 4 * j, first + 2 * j
        prefetch(values, ahead + pace * j)
        a, b = _step_pair(a, b, source, rows, k, packed, q)
        a, b = _step_pair(a, b, source, rows, k + 4, packed, q + 2)
        prefetch(values, ahead + pace * j + 2 * pace)
        a, b = _step_pair(a, b, source, rows, k + 8, packed, q + 4)
        a, b = _step_pair(a, b, source, rows, k + 12, packed, q + 6)
    for j in range(whole, steps):
        prefetch(values, ahead + pace * j)
        a, b = _step_pair(a, b, source, rows, min(4 * j, last), packed, first + 2 * j)
    return a, b


@inner
def multiply_single(a, source, rows, packed, first, steps, last, values, ahead, pace):  # type: ignore[no-untyped-def]
    """Eight document tokens against 16 query tokens; see `multiply_pair`."""
    whole = (last + 4) // 16 * 4
    for j in range(0, whole, 4):
        k, q = 4 * j, first + j
        prefetch(values, ahead + pace * j)
        a = _step_single(a, source, rows, k, packed, q)
        a = _step_single(a, source, rows, k + 4, packed, q + 1)
        prefetch(values, ahead + pace * j + 2 * pace)
        a = _step_single(a, source, rows, k + 8, packed, q + 2)
        a = _step_single(a, source, rows, k + 12, packed, q + 3)
    for j in range(whole, steps):
        prefetch(values, ahead + pace * j)
        a = _step_single(a, source, rows, min(4 * j, last), packed, first + j)
    return a


@inner
def largest8(v):  # type: ignore[no-untyped-def]
    """The largest of eight vectors, lane by lane."""
    return largest(
        largest(largest(v[0], v[1]), largest(v[2], v[3])), largest(largest(v[4], v[5]), largest(v[6], v[7]))
    )


@inner
def add8(v):  # type: ignore[no-untyped-def]
    """The sum of eight vectors."""
    return add(add(add(v[0], v[1]), add(v[2], v[3])), add(add(v[4], v[5]), add(v[6], v[7])))


@inner
def prefetch_document(values, offsets, ordinals, i, stride):  # type: ignore[no-untyped-def]
    """Ask for document ``i`` of the chosen ones, as far as one block reaches."""
    if i < len(ordinals):
        start, stop = offsets[ordinals[i]], offsets[ordinals[i] + 1]
        for byte in range(start * stride, min(stop, start + BLOCK) * stride, 64):
            prefetch(values, byte)
