"""The doctor: mean cosine and effective rank from first principles, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import CollapsedError
from retrieval.training import check_geometry, geometry_of


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_mean_cosine_is_that_of_all_pairs() -> None:
    values = normal(40, 7) + 1
    unit = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    pairs = (unit @ unit.T)[~np.eye(40, dtype=bool)]
    assert geometry_of(values).mean_cosine == pytest.approx(pairs.mean(), abs=1e-12)


def test_effective_rank_of_equal_variances_is_the_dimension() -> None:
    basis = np.concatenate([np.eye(6), -np.eye(6)]).astype(np.float32)
    assert geometry_of(basis).effective_rank == pytest.approx(6)


def test_effective_rank_of_a_line_is_one() -> None:
    line = np.outer(np.linspace(-1, 1, 300), normal(1, 16)[0]).astype(np.float32)
    assert geometry_of(line).effective_rank == pytest.approx(1, abs=1e-3)


def test_healthy_vectors_pass() -> None:
    check_geometry(geometry_of(normal(1000, 32)))


def test_vectors_that_hardly_differ_are_refused() -> None:
    collapsed = 1 + 0.01 * normal(1000, 32)
    with pytest.raises(CollapsedError, match=r"mean cosine of 1\.000.*--force"):
        check_geometry(geometry_of(collapsed))


def test_vectors_on_a_plane_are_refused_but_not_a_few_documents() -> None:
    plane = normal(1000, 2) @ normal(2, 32, seed=1)
    with pytest.raises(CollapsedError, match="effective rank"):
        check_geometry(geometry_of(plane))
    check_geometry(geometry_of(plane[:20]))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_documents(n: int) -> None:
    geometry = geometry_of(normal(n, 4))
    assert geometry.documents == n
    assert np.isfinite([geometry.mean_cosine, geometry.effective_rank, geometry.mean_norm]).all()
    check_geometry(geometry)


def test_zero_vectors_do_not_divide_by_zero() -> None:
    assert geometry_of(np.zeros((10, 4), np.float32)).mean_cosine == 0
