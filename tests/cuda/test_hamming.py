"""Hamming distances on a GPU against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.hamming import cuda, reference


@pytest.mark.parametrize(
    ("n_queries", "n", "nbytes"), [(1, 3, 1), (5, 130, 48), (2, 7, 69), (0, 3, 8), (2, 0, 8)]
)
def test_equals_reference(n_queries: int, n: int, nbytes: int) -> None:
    rng = np.random.default_rng(0)
    queries, codes = (rng.integers(0, 256, (rows, nbytes), dtype=np.uint8) for rows in (n_queries, n))
    accept = rng.random(n) < 0.6
    for codes_given, mask in ((codes, None), (cuda.upload(codes) if n else codes, accept)):
        expected = reference.hamming(queries, codes, 4, mask)
        got = cuda.hamming(queries, codes_given, 4, mask)
        for want, have in zip(expected, got, strict=True):
            np.testing.assert_array_equal(want, have)
    for query in queries[:1]:
        np.testing.assert_array_equal(
            cuda.hamming_distances(query, codes), reference.hamming_distances(query, codes)
        )


def test_other_length_is_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes against codes of 8"):
        cuda.hamming(np.zeros((1, 4), np.uint8), np.zeros((2, 8), np.uint8), 1)
