"""Gathering of candidates from centroid postings in plain NumPy: the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["gather"]


def gather(
    probes: NDArray[Any],
    probe_scores: FloatArray,
    posting_offsets: NDArray[Any],
    postings: NDArray[Any],
    n_documents: int,
    accept: NDArray[np.bool_] | None = None,
    missing: FloatArray | None = None,
    threads: int = 1,
) -> tuple[IntArray, FloatArray]:
    """Score every accepted document that a probed centroid names; ``threads`` may share the work.

    Query token ``q`` probes the centroids ``probes[q]`` ``(n_q, n_probe)``, which score
    ``probe_scores[q]`` float32. Centroid ``c`` stands in the documents
    ``postings[posting_offsets[c]:posting_offsets[c + 1]]``, each once, ascending. A document's score
    is the sum over query tokens of the largest score of a probed centroid that it has, or of
    ``missing[q]`` (default 0) where it has none: the first stage of PLAID (Santhanam et al., CIKM
    2022) with WARP's imputed scores. ``accept`` ``(n_documents,)`` says which documents count.

    Returns ordinals ``(m,)`` int64, ascending, and scores ``(m,)`` float32.
    """
    n_q = len(probes)
    best = np.full((n_documents, n_q), -np.inf, np.float32)
    for q in range(n_q):
        for centroid, score in zip(probes[q], probe_scores[q], strict=True):
            documents = postings[posting_offsets[centroid] : posting_offsets[centroid + 1]]
            best[documents, q] = np.maximum(best[documents, q], score)
    reached = best > -np.inf
    named = reached.any(axis=1)
    if accept is not None:
        named &= accept
    ordinals = np.flatnonzero(named)
    scores = np.where(reached, best, 0 if missing is None else missing)[ordinals].sum(
        axis=1, dtype=np.float64
    )
    return ordinals, scores.astype(np.float32)
