"""Nearest centroids on a GPU, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.assign import cuda, reference


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize(("n", "k", "d"), [(3, 1, 5), (35, 37, 18)])
def test_equals_the_reference(n: int, k: int, d: int, metric) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 5, (n, d)).astype(np.float32)
    centroids = rng.integers(-4, 5, (k, d)).astype(np.float32)
    centroids[k // 2 :: 3] = centroids[0]  # ties
    for got, expected in zip(
        cuda.assign(values, centroids, metric), reference.assign(values, centroids, metric), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_nothing_to_assign() -> None:
    assert [
        len(array) for array in cuda.assign(np.zeros((0, 3), np.float32), np.ones((2, 3), np.float32))
    ] == [0] * 3
