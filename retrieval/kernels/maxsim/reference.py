"""MaxSim, as ColBERT defines it (Khattab and Zaharia, SIGIR 2020, section 3.3), in plain NumPy.

    score(Q, D) = sum over query tokens q of the max over document tokens v of q . v

``query`` is ``(n_q, d)``, ``values`` ``(n_tokens, d)``; document ``j`` owns rows
``offsets[j]:offsets[j + 1]`` of ``values``; ``ordinals`` (int64) chooses documents, in its order and
with repetitions, None is all of them. A document without tokens scores 0: nothing matched, nothing
contributed. Values are finite; a NaN among them makes its document's score NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["from_bf16", "maxsim", "maxsim_batch", "maxsim_bf16", "maxsim_i8", "to_bf16"]


def maxsim(
    query: FloatArray, values: NDArray[Any], offsets: IntArray, ordinals: IntArray | None = None
) -> FloatArray:
    """Score one float32 query against the chosen documents, ``(n,)``; values float32 or float16."""
    return _score(query, values.astype(np.float32), offsets, ordinals).astype(np.float32)


def maxsim_bf16(
    query: FloatArray, values_bits: NDArray[np.uint16], offsets: IntArray, ordinals: IntArray | None = None
) -> FloatArray:
    """As `maxsim`, with query and values in bfloat16, the values as bits; products and sums in float32."""
    values = from_bf16(values_bits)
    return _score(from_bf16(to_bf16(query)), values, offsets, ordinals).astype(np.float32)


def maxsim_i8(
    query_i8: NDArray[np.int8],
    values_u8: NDArray[np.uint8],
    offsets: IntArray,
    ordinals: IntArray | None = None,
    threads: int = 1,
) -> NDArray[np.int32]:
    """As `maxsim`, in integers: ``values_u8`` holds values of -128 to 127, plus 128. ``threads`` may share
    the work."""
    values = values_u8.astype(np.int64) - 128
    return _score(query_i8.astype(np.int64), values, offsets, ordinals).astype(np.int32)


def to_bf16(values: FloatArray) -> NDArray[np.uint16]:
    """The nearest bfloat16 of each float, ties to even, as bits; a NaN stays one."""
    bits = values.view(np.uint32)
    nearest = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, nearest).astype(np.uint16)


def from_bf16(bits: NDArray[np.uint16]) -> FloatArray:
    """bfloat16 bits to the same numbers in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def maxsim_batch(
    queries: NDArray[Any], query_offsets: IntArray, values: NDArray[Any], offsets: IntArray
) -> NDArray[Any]:
    """Score every query against every document.

    ``queries`` is ``(n_query_tokens, d)``; query ``i`` owns rows
    ``query_offsets[i]:query_offsets[i + 1]``. Returns ``(n_queries, n_documents)`` in the inputs'
    common float type.
    """
    n_queries = len(query_offsets) - 1
    scores = np.zeros((n_queries, len(offsets) - 1), dtype=np.result_type(queries, values))
    for i in range(n_queries):
        scores[i] = _score(queries[query_offsets[i] : query_offsets[i + 1]], values, offsets, None)
    return scores


def _score(
    query: NDArray[Any], values: NDArray[Any], offsets: IntArray, ordinals: IntArray | None
) -> NDArray[Any]:
    chosen = range(len(offsets) - 1) if ordinals is None else ordinals
    scores = np.zeros(len(chosen), dtype=np.result_type(query, values))
    for i, j in enumerate(chosen):
        document = values[offsets[j] : offsets[j + 1]]
        if len(document):
            scores[i] = (query @ document.T).max(axis=1).sum()
    return scores
