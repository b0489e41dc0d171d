"""Sparse random projections keep inner products right on average, with the variance of theory."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.reduce import SparseProjection
from tests.unit.reduce.spaces import vectors

SAMPLE = np.zeros((1, 64), np.float32)


@pytest.mark.parametrize(("dim", "short"), [(64, 32), (64, 64), (64, 1), (100, 37), (1, 1), (384, 128)])
def test_each_row_has_as_many_entries_and_length_one(dim: int, short: int) -> None:
    matrix = SparseProjection.fit(np.zeros((1, dim), np.float32), short, seed=1).state()[1]["documents"]
    entries = max(1, round(short / np.sqrt(dim)))
    assert (np.count_nonzero(matrix, axis=1) == entries).all()
    np.testing.assert_allclose(np.abs(matrix[matrix != 0]), 1 / np.sqrt(entries), rtol=1e-6)
    np.testing.assert_allclose(np.square(matrix).sum(axis=1), 1, rtol=1e-6)


def test_inner_products_are_right_on_average() -> None:
    query, document = vectors(1, 64, 1, unit=True), vectors(1, 64, 2, unit=True)
    full, estimates = float(query[0] @ document[0]), []
    for seed in range(2000):
        reducer = SparseProjection.fit(SAMPLE, 16, seed=seed)
        estimates.append(
            float(reducer.transform_queries(query)[0] @ reducer.transform_documents(document)[0])
        )
    # The variance of a random projection is (1 + (q.x)^2 - 2 sum q_i^2 x_i^2) / short.
    deviation = np.sqrt((1 + full**2 - 2 * np.sum((query * document) ** 2)) / 16)
    assert np.mean(estimates) == pytest.approx(full, abs=4 * deviation / np.sqrt(2000))
    assert np.std(estimates) == pytest.approx(deviation, rel=0.1)


def test_no_single_dimension_is_lost_or_changed() -> None:
    one_hot = np.eye(64, dtype=np.float32)
    reducer = SparseProjection.fit(SAMPLE, 8, seed=3)
    reduced = reducer.transform_documents(one_hot)
    np.testing.assert_allclose(np.einsum("nd,nd->n", reduced, reduced), 1, rtol=1e-6)


def test_seeds_differ() -> None:
    one, other = (SparseProjection.fit(SAMPLE, 16, seed=seed).state()[1]["documents"] for seed in (1, 2))
    assert not np.array_equal(one, other)
