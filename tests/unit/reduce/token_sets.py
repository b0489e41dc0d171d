"""Made-up texts of tokens: words around prototypes, a document speaks of few of them."""

from __future__ import annotations

import numpy as np

from retrieval.kernels.maxsim import reference
from retrieval.types import FloatArray, Ragged


def texts(n: int, dim: int, seed: int, longest: int = 20, shared: float = 0.0) -> Ragged:
    """``n`` texts of 1 to ``longest`` unit vectors, near 3 of 60 prototypes each; ``shared`` is what all
    tokens have in common, before they are normalised."""
    random = np.random.default_rng(seed)
    prototypes = np.random.default_rng(99).standard_normal((60, dim)) / np.sqrt(dim)
    parts = []
    for _ in range(n):
        words = random.choice(60, 3)[random.integers(0, 3, random.integers(1, longest + 1))]
        tokens = prototypes[words] + 0.5 / np.sqrt(dim) * random.standard_normal((len(words), dim))
        tokens[:, 0] += shared
        parts.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32))
    return Ragged.from_list(parts, dim)


def some(given: Ragged, chosen: list[int]) -> Ragged:
    """Those texts alone, in that order."""
    return Ragged.from_list([given[i] for i in chosen], given.dim)


def best_match_sums(queries: Ragged, documents: Ragged) -> FloatArray:
    """MaxSim of every query with every document, ``(n_queries, n_documents)``."""
    return reference.maxsim_batch(queries.values, queries.offsets, documents.values, documents.offsets)


def found(estimates: FloatArray, scores: FloatArray, k: int, pool: int) -> float:
    """Share of the true best ``k`` among the ``pool`` best by the estimates."""
    best, pools = np.argsort(-scores, axis=1)[:, :k], np.argsort(-estimates, axis=1)[:, :pool]
    return float(np.mean([np.isin(b, p).mean() for b, p in zip(best, pools, strict=True)]))
