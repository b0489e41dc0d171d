"""MaxSim, as ColBERT defines it (Khattab and Zaharia, SIGIR 2020, section 3.3), in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["maxsim"]


def maxsim(
    queries: NDArray[Any], query_offsets: IntArray, values: NDArray[Any], offsets: IntArray
) -> NDArray[Any]:
    """Score every query against every document: sum over query tokens of the best inner product.

    ``queries`` is ``(n_query_tokens, d)`` and ``values`` ``(n_tokens, d)``; query ``i`` owns rows
    ``query_offsets[i]:query_offsets[i + 1]``, document ``j`` rows ``offsets[j]:offsets[j + 1]``.
    A document without tokens scores 0: nothing matched, nothing contributed.

    Returns ``(n_queries, n_documents)`` in the inputs' common float type.
    """
    n_queries, n_documents = len(query_offsets) - 1, len(offsets) - 1
    scores = np.zeros((n_queries, n_documents), dtype=np.result_type(queries, values))
    for i in range(n_queries):
        query = queries[query_offsets[i] : query_offsets[i + 1]]
        for j in range(n_documents):
            document = values[offsets[j] : offsets[j + 1]]
            if len(document):
                scores[i, j] = (query @ document.T).max(axis=1).sum()
    return scores
