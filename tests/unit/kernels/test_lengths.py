"""Squared lengths are NumPy's up to rounding; the bound of scores is the textbook's."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.lengths import rounding, squared_length


@pytest.mark.parametrize("dim", [0, 1, 3, 33, 384])
def test_squared_length(dim: int) -> None:
    query = np.random.default_rng(dim).standard_normal((1, dim)).astype(np.float32)
    for given in (query, query[:, ::-1], np.zeros_like(query)):
        assert squared_length(given) == pytest.approx(float(np.vdot(given, given)), rel=1e-5)


@pytest.mark.parametrize("l2", [False, True])
def test_scores_in_float32_lie_within_the_bound(l2: bool) -> None:
    rng = np.random.default_rng(0)
    query, vectors = rng.standard_normal((1, 96)), rng.standard_normal((2000, 96))
    query, vectors = query.astype(np.float32), vectors.astype(np.float32)
    largest = float(np.linalg.norm(vectors, axis=1).max())
    slack, length = rounding(query, largest, l2)
    assert length == pytest.approx(float(np.linalg.norm(query)), rel=1e-6)
    scores, wide = (vectors @ query[0]), (vectors.astype(float) @ query[0].astype(float))
    size = length * largest
    if l2:
        size = (length + largest) ** 2
        scores = 2 * scores - (vectors * vectors).sum(axis=1)
        wide = 2 * wide - np.square(vectors.astype(float)).sum(axis=1)
    assert slack == pytest.approx(2 * 104 * 2.0**-24 * size, rel=1e-6)
    assert 2 * np.abs(scores - wide).max() <= slack
