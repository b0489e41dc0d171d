"""What recall is measured against: the best documents by exact scores of what is stored."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.quantize import Int8Codec
from retrieval.storage import CodecRecord, Trained
from retrieval.training.doctor import _Sample
from retrieval.training.measure import _exact
from retrieval.types import Ragged

DIM, N, N_QUERIES, K = 32, 2000, 9, 100
"""So many that queries rounded to bytes would put some of the best in another order."""


def random_tokens(n: int, seed: int) -> Ragged:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, n)
    values = rng.standard_normal((lengths.sum(), DIM)).astype(np.float32)
    return Ragged(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


@pytest.mark.parametrize("living", [5, 4, 2])
def test_many_queries_of_tokens_in_bytes_are_scored_exactly(living: int) -> None:
    documents, queries = random_tokens(N, 0), random_tokens(N_QUERIES, 1)
    codec = Int8Codec.fit(documents.values)
    codes = codec.encode(documents.values)
    live = np.arange(N) % 5 < living
    view = _Sample(codes, documents.offsets, 20.0, None, None if living == 5 else live)
    record = CodecRecord(1, "int8", {}, "late", "maxsim", DIM, None, {})
    found = _exact(record, Trained(codec), [view], queries, K)
    stored = codec.decode(codes).astype(np.float64)
    for i in range(N_QUERIES):
        products = stored @ queries[i].T.astype(np.float64)
        scores = np.maximum.reduceat(products, documents.offsets[:-1], axis=0).sum(axis=1)
        scores[~live] = -np.inf
        segments, ordinals = found[i]
        assert ordinals.tolist() == np.argsort(-scores)[:K].tolist()
        assert (segments == 0).all()
