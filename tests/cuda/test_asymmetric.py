"""Float queries against quantised documents on a GPU, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.asymmetric import cuda, reference


@pytest.mark.parametrize(
    ("n_queries", "n", "dim", "bits"),
    [(1, 3, 1, 1), (5, 130, 20, 4), (2, 7, 70, 8), (3, 5, 299, 1), (2, 4, 9, 2), (0, 2, 4, 8)],
)
def test_equals_reference(n_queries: int, n: int, dim: int, bits: int) -> None:
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    codes = rng.integers(0, 256, (n, -(-dim * bits // 8)), dtype=np.uint8)
    scales, offsets = rng.standard_normal((2, n)).astype(np.float32)
    expected = reference.asymmetric(queries, codes, scales, offsets, bits, exact=True)
    got = cuda.asymmetric(queries, codes, scales, offsets, bits)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1))
    accept = rng.random(n) < 0.7
    scores, ordinals = cuda.asymmetric_topk(queries, codes, scales, offsets, bits, 3, accept)
    expected_scores, expected_ordinals = reference.asymmetric_topk(
        queries, codes, scales, offsets, bits, 3, accept, exact=True
    )
    np.testing.assert_array_equal(ordinals, expected_ordinals)
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1))


def test_bad_input_is_refused() -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="8 dimensions of 8 bits"):
        cuda.asymmetric(np.ones((1, 8), np.float32), np.zeros((1, 4), np.uint8), one, one, 8)
    with pytest.raises(ValueError, match="NaN"):
        cuda.asymmetric(np.full((1, 8), np.nan, np.float32), np.zeros((1, 8), np.uint8), one, one, 8)
