"""MaxSim of a query of one token with 512-bit vectors: its dimensions lie in the lanes.

That is the scan of dense vectors too. It is bound by reading the values, where a block of
`retrieval.kernels.maxsim.blocks` would be bound by fifteen idle lanes.
"""

from __future__ import annotations

from numba import njit

from retrieval.kernels.maxsim.blocks import AS_IS, BLOCK, FLOAT16, inner, prefetch_document
from retrieval.kernels.maxsim.lanes import multiply_add, query_vector, total, zero
from retrieval.kernels.simd.arithmetic import add, as_i32
from retrieval.kernels.simd.memory import load_bf16, load_f16, load_i32, prefetch

__all__ = ["score_single"]


@inner
def _token_vector(values, at, widening):  # type: ignore[no-untyped-def]
    if widening == AS_IS:
        return load_i32(values, at)
    return as_i32(load_f16(values, at) if widening == FLOAT16 else load_bf16(values, at))


@inner
def _product(values, at, shape, packed, scores):  # type: ignore[no-untyped-def]
    """Inner product of the token at byte ``at`` with the query; the last vector steps back."""
    stride, widening, width, n, far = shape
    a, b = zero(scores), zero(scores)
    for i in range(0, n - 1, 2):
        prefetch(values, at + i * width + far)
        a = multiply_add(a, _token_vector(values, at + i * width, widening), query_vector(packed, i))
        j = min((i + 1) * width, stride - width)
        prefetch(values, at + j + far)
        b = multiply_add(b, _token_vector(values, at + j, widening), query_vector(packed, i + 1))
    if n % 2:
        a = multiply_add(a, _token_vector(values, at + stride - width, widening), query_vector(packed, n - 1))
    return total(add(a, b))


@inner
def _score_document(values, start, stop, shape, packed, scores):  # type: ignore[no-untyped-def]
    stride = shape[0]
    best = _product(values, start * stride, shape, packed, scores)
    doubt = best - best  # NaN if any product is, which comparisons lose
    for t in range(start + 1, stop):
        product = _product(values, t * stride, shape, packed, scores)
        best = max(best, product)
        doubt += product - product
    return best + doubt


@njit(nogil=True, cache=True, error_model="numpy")
def score_single(values, offsets, ordinals, shape, packed, constant, scores):  # type: ignore[no-untyped-def]
    """As `retrieval.kernels.maxsim.avx512`, for one query token; ``packed`` by `pack_single`.

    ``shape`` is (bytes of a token, widening, bytes of a token that a vector of the
    query meets, number of those vectors, bytes to prefetch ahead).
    """
    for i in range(len(scores)):
        at = ordinals[i] if len(ordinals) else i
        prefetch_document(values, offsets, ordinals, i + BLOCK, shape[0])
        scores[i] = 0
        if offsets[at + 1] > offsets[at]:
            scores[i] = (
                _score_document(values, offsets[at], offsets[at + 1], shape, packed, scores) - constant
            )
