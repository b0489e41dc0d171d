"""The GPU's scan of product-quantised codes against its reference."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.pq_scan import cuda, reference

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("n", "m", "n_queries", "nbits"), [(40, 3, 2, 8), (3, 18, 1, 8), (40, 9, 2, 4), (1, 1, 1, 4)]
)
def test_equal_to_the_reference(n: int, m: int, n_queries: int, nbits: int) -> None:
    codes = RNG.integers(0, 2**nbits, (n, m), dtype=np.uint8)
    stored = reference.pack_codes(codes) if nbits == 4 else codes
    tables = RNG.standard_normal((n_queries, m, 2**nbits)).astype(np.float32)
    accept = RNG.random(n) < 0.6
    np.testing.assert_allclose(
        cuda.pq_scores(tables, stored, nbits=nbits, n=n),
        reference.pq_scores(tables, stored, nbits=nbits, n=n),
        rtol=1e-5,
        atol=1e-5,
    )
    got = cuda.pq_scan(tables, stored, 5, accept, nbits=nbits, n=n)
    expected = reference.pq_scan(tables, stored, 5, accept, nbits=nbits, n=n)
    np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(got[0], expected[0])


def test_nothing() -> None:
    scores, ordinals = cuda.pq_scan(np.zeros((2, 3, 256), np.float32), np.zeros((0, 3), np.uint8), 4)
    assert scores.shape == ordinals.shape == (2, 0)
