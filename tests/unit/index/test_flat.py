"""The exact scan: one answer whichever way it scores, in memory for one query's scores."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from retrieval.index import FlatIndex
from retrieval.quantize import Int8Codec
from retrieval.types import Ragged

N, DIM, K = 200_000, 8, 3


@pytest.fixture(scope="module")
def flat() -> FlatIndex:
    values = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
    codec = Int8Codec.fit(values, {})
    longest = float(np.linalg.norm(values, axis=1).max())
    return FlatIndex(codec.encode(values), np.arange(N + 1), codec, "dot", longest, 0)


@pytest.mark.parametrize("share", [1.0, 0.7, 0.2])
def test_few_queries_of_bytes_hold_the_scores_of_one(flat: FlatIndex, share: float) -> None:
    rng = np.random.default_rng(1)
    queries = Ragged.from_matrix(rng.standard_normal((16, DIM)).astype(np.float32))
    accept = None if share == 1 else rng.random(N) < share
    alone = [flat.candidates(Ragged.from_matrix(queries[i]), K, accept)[0] for i in range(16)]
    tracemalloc.start()
    together = flat.candidates(queries, K, accept)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 4 * N  # all scores would be 16 of these, and more where they are stacked
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.ordinals, other.ordinals)
        np.testing.assert_array_equal(one.scores, other.scores)
