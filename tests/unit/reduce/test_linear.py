"""PCA and LeanVec against their definitions in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.reduce import LeanVec, Pca, held_out_error
from retrieval.reduce.base import FittableReducer
from retrieval.reduce.linear import BLOCK, LinearReducer
from retrieval.types import FloatArray
from tests.unit.reduce.spaces import rotation, vectors

DIM, SHORT = 64, 16
DOCUMENTS = vectors(3000, DIM, 1)


def matrices(reducer: LinearReducer) -> tuple[np.ndarray, np.ndarray]:
    """B and A in float64."""
    arrays = reducer.state()[1]
    documents = arrays["documents"].astype(np.float64)
    return documents, arrays.get("queries", arrays["documents"]).astype(np.float64)


def product(reducer: LinearReducer) -> np.ndarray:
    """``A B'``: all that inner products depend on."""
    documents, queries = matrices(reducer)
    return queries @ documents.T


def second_moment(values: FloatArray) -> np.ndarray:
    return values.astype(np.float64).T @ values / len(values)


def loss(maps: np.ndarray, spread: np.ndarray, asked: np.ndarray) -> float:
    """Mean squared error of inner products with ``maps`` in between, from the two second moments."""
    lost = np.eye(len(maps)) - maps
    return float(np.trace(asked @ lost @ spread @ lost.T))


@pytest.mark.parametrize("n", [20, 3000, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
def test_pca_spans_the_first_singular_vectors(n: int) -> None:
    documents = vectors(n, DIM, 1, mean=0.6)
    axes = np.linalg.svd(documents.astype(np.float64), full_matrices=False)[2][:SHORT]
    reducer = Pca.fit(documents, SHORT)
    np.testing.assert_allclose(np.abs(matrices(reducer)[0].T @ axes.T), np.eye(SHORT), atol=2e-4)


def test_all_dimensions_of_pca_keep_inner_products() -> None:
    reducer = Pca.fit(DOCUMENTS, DIM)
    reduced = reducer.transform_queries(DOCUMENTS[:50]) @ reducer.transform_documents(DOCUMENTS).T
    np.testing.assert_allclose(reduced, DOCUMENTS[:50] @ DOCUMENTS.T, atol=1e-5)


def test_pca_does_not_lose_a_mean_that_all_share() -> None:
    """A centred basis would: the mean has no variance."""
    documents, queries = vectors(2000, DIM, 1, mean=0.9, decay=0.2), vectors(100, DIM, 2, mean=0.9, decay=0.2)
    error = held_out_error(Pca.fit(documents, SHORT), documents, queries)
    centred = documents - documents.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:SHORT]
    worse = held_out_error(Pca(axes.T), documents, queries)
    assert error.shift < 0.05 < worse.shift
    assert error.rms < worse.rms


@pytest.mark.parametrize("mean", [0.0, 0.7])
@pytest.mark.parametrize("queries", [None, np.empty((0, DIM), np.float32)])
def test_leanvec_without_queries_is_pca(mean: float, queries: FloatArray | None) -> None:
    documents = vectors(3000, DIM, 1, mean=mean)
    leanvec = LeanVec.fit(documents, SHORT, queries)
    assert np.array_equal(matrices(leanvec)[0], matrices(Pca.fit(documents, SHORT))[0])


def test_leanvec_for_queries_that_point_anywhere_is_pca() -> None:
    """Queries whose second moment is the identity: their scores are those of PCA."""
    queries = np.repeat(rotation(DIM, 9), 100, axis=0) * np.float32(np.sqrt(DIM))
    leanvec, pca = LeanVec.fit(DOCUMENTS, SHORT, queries), Pca.fit(DOCUMENTS, SHORT)
    np.testing.assert_allclose(product(leanvec), product(pca), atol=1e-3)


def test_leanvec_for_queries_spread_like_documents_is_pca() -> None:
    leanvec, pca = LeanVec.fit(DOCUMENTS, SHORT, DOCUMENTS), Pca.fit(DOCUMENTS, SHORT)
    np.testing.assert_allclose(product(leanvec), product(pca), atol=1e-3)


def test_leanvec_keeps_everything_where_it_may() -> None:
    leanvec = LeanVec.fit(DOCUMENTS, DIM, vectors(500, DIM, 2, axes=3))
    np.testing.assert_allclose(product(leanvec), np.eye(DIM), atol=1e-4)


def test_leanvec_is_the_closed_form() -> None:
    """With very many queries nothing of the prior is left; no map of this rank is better on them.

    The least error of rank r is the sum of the eigenvalues of W X'X W after the first r (Eckart & Young).
    """
    spread, asked = second_moment(DOCUMENTS), second_moment(vectors(100_000, DIM, 2, axes=3))
    values, axes = np.linalg.eigh(asked)
    root = (axes * np.sqrt(values)) @ axes.T
    least = np.linalg.eigvalsh(root @ spread @ root)[::-1][SHORT:].sum()
    found = loss(product(LeanVec.fit(DOCUMENTS, SHORT, vectors(100_000, DIM, 2, axes=3))), spread, asked)
    assert 0.999 * least <= found <= 1.02 * least
    assert loss(product(Pca.fit(DOCUMENTS, SHORT)), spread, asked) > 1.3 * least


def test_the_loss_of_these_tests_is_the_error_of_inner_products() -> None:
    documents, queries = vectors(50, DIM, 5), vectors(40, DIM, 4, axes=3)
    reducer = LeanVec.fit(DOCUMENTS, SHORT, queries)
    estimates = reducer.transform_queries(queries) @ reducer.transform_documents(documents).T
    expected = np.mean((estimates - queries @ documents.T) ** 2)
    moments = second_moment(documents), second_moment(queries)
    assert loss(product(reducer), *moments) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("n_queries", [1, 10, DIM, 1000])
@pytest.mark.parametrize("axes", [0, 3])
def test_queries_help_and_few_do_not_harm(n_queries: int, axes: int) -> None:
    """On held-out queries, spread as the documents are (``axes`` 0) or otherwise."""
    queries, held_out = vectors(n_queries, DIM, 2, axes=axes), vectors(300, DIM, 4, axes=axes)
    documents = vectors(1000, DIM, 5)
    leanvec = held_out_error(LeanVec.fit(DOCUMENTS, SHORT, queries), documents, held_out)
    pca = held_out_error(Pca.fit(DOCUMENTS, SHORT), documents, held_out)
    assert leanvec.rms <= 1.05 * pca.rms
    if axes and n_queries >= DIM:
        assert leanvec.rms < 0.97 * pca.rms
        assert leanvec.recall >= pca.recall


def test_balance_changes_no_inner_product_and_keeps_lengths() -> None:
    queries = vectors(2000, DIM, 2, axes=3)
    leanvec = LeanVec.fit(DOCUMENTS, SHORT, queries)
    documents, other = matrices(leanvec)
    np.testing.assert_allclose(other.T @ documents, np.eye(SHORT), atol=1e-4)  # A'B = P'P
    before, after = np.mean(DOCUMENTS**2) * DIM, np.mean(leanvec.transform_documents(DOCUMENTS) ** 2) * SHORT
    assert after == pytest.approx(before, rel=1e-3)


def test_balance_lowers_the_error_of_one_bit_codes() -> None:
    """Sign codes of the randomly turned reduced vectors, against the closed form's bare ``W P``."""
    documents, queries = vectors(2000, DIM, 5), vectors(300, DIM, 4, axes=3)
    leanvec = LeanVec.fit(DOCUMENTS, SHORT, vectors(2000, DIM, 2, axes=3))
    reduced, short = leanvec.transform_documents(documents), leanvec.transform_queries(queries)
    spread = np.sqrt(np.mean(short**2, axis=0))
    full = short @ reduced.T
    errors = []
    for stretch in (np.ones(SHORT, np.float32), spread):  # `spread`: queries lose all large axes
        codes, turn = reduced * stretch @ rotation(SHORT, 8), rotation(SHORT, 8)
        signs = np.sign(codes)
        scale = np.square(codes).sum(axis=1, keepdims=True) / (codes * signs).sum(axis=1, keepdims=True)
        errors.append(np.std(short / stretch @ turn @ (signs * scale).T - full))
    assert errors[0] < 0.9 * errors[1]


def test_documents_in_few_directions() -> None:
    """Fewer directions than dimensions are asked for: nothing is lost, nothing overflows."""
    documents = vectors(500, DIM, 1) @ rotation(DIM, 3)[:, :5] @ rotation(DIM, 3)[:, :5].T
    for queries in (vectors(3, DIM, 2), vectors(300, DIM, 2)):
        leanvec = LeanVec.fit(documents, SHORT, queries)
        estimates = leanvec.transform_queries(queries) @ leanvec.transform_documents(documents).T
        np.testing.assert_allclose(estimates, queries @ documents.T, atol=1e-4)


@pytest.mark.parametrize("kind", [Pca, LeanVec])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_values_that_cannot_be_averaged_are_refused(kind: type[FittableReducer], bad: float) -> None:
    sample = DOCUMENTS.copy()
    sample[3, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        kind.fit(sample, SHORT)
    if kind is LeanVec:
        with pytest.raises(ValueError, match="not finite"):
            kind.fit(DOCUMENTS, SHORT, sample)


@given(st.integers(1, 20), st.integers(1, 60), st.integers(0, 60), st.integers(0, 2**32 - 1), st.data())
def test_maps_are_projections(dim: int, n: int, m: int, seed: int, data: st.DataObject) -> None:
    """``A B'`` has the rank that was asked for at most; with all dimensions nothing is lost."""
    random = np.random.default_rng(seed)
    documents = random.standard_normal((n, dim)).astype(np.float32)
    queries = random.standard_normal((m, dim)).astype(np.float32)
    short = data.draw(st.integers(1, dim))
    full = queries @ documents.T
    for kind in (Pca, LeanVec):
        whole = kind.fit(documents, dim, queries)
        estimates = whole.transform_queries(queries) @ whole.transform_documents(documents).T
        np.testing.assert_allclose(estimates, full, atol=1e-3)
        maps = product(kind.fit(documents, short, queries))
        assert np.linalg.matrix_rank(maps, tol=1e-4) <= short
        np.testing.assert_allclose(maps @ maps, maps, atol=1e-3)  # a projection, straight or oblique
