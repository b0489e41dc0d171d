"""The held-out error equals its definition, computed the long way."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.reduce import Matryoshka, Pca, held_out_error
from retrieval.types import FloatArray
from tests.unit.reduce.spaces import vectors


class Moved(Matryoshka):
    """All dimensions, with a number added to every inner product that depends on the query alone."""

    def transform_documents(self, values: FloatArray) -> FloatArray:
        return np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)

    def transform_queries(self, values: FloatArray) -> FloatArray:
        return np.concatenate([values, 3 * values[:, :1]], axis=1)


@pytest.mark.parametrize("n", [1, 9, 10, 11, 200])
@pytest.mark.parametrize("n_queries", [1, 31, 32, 33, 65])
def test_it_is_its_definition(n: int, n_queries: int) -> None:
    documents, queries = vectors(n, 24, 1, mean=0.4), vectors(n_queries, 24, 2, mean=0.4)
    reducer = Pca.fit(vectors(100, 24, 3), 5)
    errors, shifts, deviations, found = [], [], [], 0
    for query in queries:
        full = [float(np.dot(query.astype(np.float64), document)) for document in documents]
        short = reducer.transform_documents(documents) @ reducer.transform_queries(query[None])[0]
        gaps = [float(estimate) - score for estimate, score in zip(short, full, strict=True)]
        errors += [gap - np.mean(gaps) for gap in gaps]
        shifts += [np.mean(gaps)] * n
        deviations += [score - np.mean(full) for score in full]
        found += len(set(np.argsort(full)[::-1][:10]) & set(np.argsort(short)[::-1][:10]))
    measured = held_out_error(reducer, documents, queries)
    assert measured.recall == pytest.approx(found / (n_queries * min(n, 10)))
    if n > 1:
        deviation = np.sqrt(np.mean(np.square(deviations)))
        assert measured.rms == pytest.approx(np.sqrt(np.mean(np.square(errors))) / deviation, rel=1e-4)
        assert measured.shift == pytest.approx(np.sqrt(np.mean(np.square(shifts))) / deviation, rel=1e-4)


def test_nothing_lost_is_no_error() -> None:
    documents, queries = vectors(100, 16, 1), vectors(20, 16, 2)
    measured = held_out_error(Matryoshka(16, 16, normalise=False), documents, queries)
    assert (measured.rms, measured.shift, measured.recall) == (0, 0, 1)


def test_a_constant_of_the_query_is_a_shift_and_no_error() -> None:
    documents, queries = vectors(100, 16, 1), vectors(20, 16, 2)
    measured = held_out_error(Moved(16, 16, normalise=False), documents, queries)
    assert measured.rms == pytest.approx(0, abs=1e-5)
    assert measured.recall == 1
    assert measured.shift > 0.5


def test_of_ties_any_will_do() -> None:
    """Twenty equal documents, and a reducer that orders them the other way round."""
    documents = np.zeros((20, 2), np.float32)
    documents[:, 0] = 1
    documents[:, 1] = np.arange(20) * 1e-3
    reducer = Pca(np.eye(2, dtype=np.float32))
    query = np.array([[1, 0]], np.float32)
    turned = Pca(np.eye(2, dtype=np.float32), np.array([[1, 5], [0, 1]], np.float32))
    assert held_out_error(reducer, documents, query).recall == 1
    measured = held_out_error(turned, documents, query)
    assert measured.recall == 1
    assert measured.rms == np.inf


@pytest.mark.parametrize(("n", "n_queries"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_measure_is_refused(n: int, n_queries: int) -> None:
    reducer = Matryoshka(4, 2, normalise=False)
    with pytest.raises(ValueError, match=f"{n} documents and {n_queries} queries"):
        held_out_error(reducer, np.ones((n, 4), np.float32), np.ones((n_queries, 4), np.float32))
