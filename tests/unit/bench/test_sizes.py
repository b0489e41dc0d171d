"""The table of sizes: bytes a token, and what they lose."""

from __future__ import annotations

import numpy as np
import pytest

from bench.late.data import LateData
from bench.late.truth import exact
from bench.peers.late_base import Tokens
from bench.sizes import CODES, Size, mark_of, ndcg_of, sizes

pytest.importorskip("pytrec_eval")


def tokens(rng: np.random.Generator, lengths: list[int]) -> Tokens:
    words = np.random.default_rng(0).standard_normal((30, 16))
    values = words[rng.integers(0, 30, sum(lengths))] + 0.4 * rng.standard_normal((sum(lengths), 16))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return Tokens(values.astype(np.float32), np.cumsum([0, *lengths]))


@pytest.fixture(scope="module")
def data() -> LateData:
    """Relevant are the three documents that exact scores put first."""
    rng = np.random.default_rng(1)
    documents, queries = tokens(rng, [8] * 60), tokens(rng, [4] * 10)
    ids, names = [f"d{i}" for i in range(60)], [f"q{i}" for i in range(10)]
    best = exact(documents, queries, 3).ids
    qrels = {name: {ids[j]: 1 for j in row} for name, row in zip(names, best, strict=True)}
    return LateData("made", "", "", "", documents, queries, ids, names, qrels, [])


def test_fewer_bytes_lose_more_and_pooling_halves_them(data: LateData) -> None:
    codes = {name: CODES[name] for name in ("bits 4", "bits 1", "none")}
    whole = ndcg_of(data, data.documents.values, data.documents.offsets)
    assert whole == pytest.approx(1)
    floats, *coded = sizes(data, "none", codes, whole)
    assert (floats.row, floats.token, floats.loss, floats.is_met) == (64, 64, 0, None)
    assert [row.token for row in coded] == [1 + 2 + 8, 1 + 2 + 2, 1 + 2]  # 16 centroids: a byte
    assert coded[0].loss < 0.05 and coded[0].loss <= coded[2].loss > 0
    assert all(0 < row.postings <= 6 for row in coded)
    pooled = list(sizes(data, "ward:2", codes, whole))
    assert [row.token for row in pooled] == [row.row / 2 for row in pooled]


def test_marks() -> None:
    assert [mark_of(token) for token in (4.0, 20.04, 21, 26, 40.2, 41)] == [
        0.02,
        0.02,
        0.01,
        0.01,
        0.005,
        None,
    ]
    assert (
        Size("", "", "", 20, 20.0, 0.0, 0.4, 0.019).is_met
        and not Size("", "", "", 40, 40.0, 0, 0.4, 0.006).is_met
    )
