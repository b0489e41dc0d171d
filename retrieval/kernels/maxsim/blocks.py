"""The inner loops: eight document tokens against 32 or 16 query tokens, sums in registers."""

from __future__ import annotations

from numba import njit

from retrieval.kernels.maxsim.lanes import largest, multiply_add, query_vector, zero
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.memory import broadcast4, prefetch

__all__ = [
    "AS_IS",
    "BFLOAT16",
    "BLOCK",
    "FLOAT16",
    "add8",
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
def multiply_pair(source, rows, packed, first, steps, last, values, ahead, pace, sums):  # type: ignore[no-untyped-def]
    """Eight document tokens against 32 query tokens.

    ``source`` holds bytes, ``rows`` where each token begins in it, ``last`` where its last four
    bytes are, from there: a last step of fewer bytes steps back, onto zeros of the packed query.
    ``first`` is the index of the query's first vector. From byte ``ahead`` of ``values`` on, every
    step asks for another ``pace`` bytes.
    Returns 8 vectors for the first 16 query tokens and 8 for the others.
    """
    r0, r1, r2, r3, r4, r5, r6, r7 = rows
    z = zero(sums)
    a0, a1, a2, a3, a4, a5, a6, a7 = z, z, z, z, z, z, z, z
    b0, b1, b2, b3, b4, b5, b6, b7 = z, z, z, z, z, z, z, z
    for j in range(steps):
        k = min(4 * j, last)
        qa, qb = query_vector(packed, first + 2 * j), query_vector(packed, first + 2 * j + 1)
        prefetch(values, ahead + pace * j)
        t = broadcast4(source, r0 + k)
        a0, b0 = multiply_add(a0, t, qa), multiply_add(b0, t, qb)
        t = broadcast4(source, r1 + k)
        a1, b1 = multiply_add(a1, t, qa), multiply_add(b1, t, qb)
        t = broadcast4(source, r2 + k)
        a2, b2 = multiply_add(a2, t, qa), multiply_add(b2, t, qb)
        t = broadcast4(source, r3 + k)
        a3, b3 = multiply_add(a3, t, qa), multiply_add(b3, t, qb)
        t = broadcast4(source, r4 + k)
        a4, b4 = multiply_add(a4, t, qa), multiply_add(b4, t, qb)
        t = broadcast4(source, r5 + k)
        a5, b5 = multiply_add(a5, t, qa), multiply_add(b5, t, qb)
        t = broadcast4(source, r6 + k)
        a6, b6 = multiply_add(a6, t, qa), multiply_add(b6, t, qb)
        t = broadcast4(source, r7 + k)
        a7, b7 = multiply_add(a7, t, qa), multiply_add(b7, t, qb)
    return (a0, a1, a2, a3, a4, a5, a6, a7), (b0, b1, b2, b3, b4, b5, b6, b7)


@inner
def multiply_single(source, rows, packed, first, steps, last, values, ahead, pace, sums):  # type: ignore[no-untyped-def]
    """Eight document tokens against 16 query tokens: 8 vectors; see `multiply_pair`."""
    r0, r1, r2, r3, r4, r5, r6, r7 = rows
    z = zero(sums)
    a0, a1, a2, a3, a4, a5, a6, a7 = z, z, z, z, z, z, z, z
    for j in range(steps):
        k = min(4 * j, last)
        q = query_vector(packed, first + j)
        prefetch(values, ahead + pace * j)
        a0 = multiply_add(a0, broadcast4(source, r0 + k), q)
        a1 = multiply_add(a1, broadcast4(source, r1 + k), q)
        a2 = multiply_add(a2, broadcast4(source, r2 + k), q)
        a3 = multiply_add(a3, broadcast4(source, r3 + k), q)
        a4 = multiply_add(a4, broadcast4(source, r4 + k), q)
        a5 = multiply_add(a5, broadcast4(source, r5 + k), q)
        a6 = multiply_add(a6, broadcast4(source, r6 + k), q)
        a7 = multiply_add(a7, broadcast4(source, r7 + k), q)
    return a0, a1, a2, a3, a4, a5, a6, a7


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
