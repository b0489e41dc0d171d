"""The GPU kernels of coded_maxsim against their reference."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.coded_maxsim import cuda, reference

RNG = np.random.default_rng(0)
DOCLENS = [3, 0, 1, 11]


def documents(n_bytes: int, k: int, dtype: str) -> tuple[np.ndarray, ...]:
    offsets = np.concatenate([[0], np.cumsum(DOCLENS)])
    n = int(offsets[-1])
    centroids = RNG.integers(0, k, n).astype(dtype)
    return (
        centroids,
        RNG.integers(0, 256, (n, n_bytes), dtype=np.uint8),
        (0.5 + RNG.random(n)).astype("float16"),
        offsets,
    )


@pytest.mark.parametrize(("nbits", "m", "n_q"), [(4, 3, 2), (8, 2, 33)])
def test_pq(nbits: int, m: int, n_q: int) -> None:
    scores = RNG.standard_normal((5, n_q)).astype(np.float32)
    table = RNG.standard_normal((m, 2**nbits, n_q)).astype(np.float32)
    centroids, codes, norms, offsets = documents(-(-m * nbits // 8), 5, "uint16")
    for ordinals in (None, np.array([3, 1])):
        arguments = (scores, table, centroids, codes, norms, offsets, ordinals, nbits)
        np.testing.assert_allclose(
            cuda.coded_maxsim_pq(*arguments), reference.coded_maxsim_pq(*arguments), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("bits", "each"), [(1, False), (2, True), (4, False)])
def test_bits(bits: int, each: bool) -> None:
    d, n_q = 5, 3
    scores = RNG.standard_normal((5, n_q)).astype(np.float32)
    query = RNG.standard_normal((n_q, d)).astype(np.float32)
    buckets = RNG.standard_normal((d, 2**bits) if each else 2**bits).astype(np.float32)
    centroids, codes, norms, offsets = documents(-(-d * bits // 8), 5, "uint32")
    arguments = (query, scores, buckets, codes, centroids, norms, offsets, None, bits)
    np.testing.assert_allclose(
        cuda.coded_maxsim_bits(*arguments), reference.coded_maxsim_bits(*arguments), rtol=1e-5, atol=1e-5
    )


def test_centroids_that_do_not_exist_are_refused() -> None:
    centroids, codes, norms, offsets = documents(1, 5, "uint16")
    scores, table = np.ones((4, 1), np.float32), np.ones((1, 16, 1), np.float32)
    centroids[offsets[3]] = 4
    assert len(cuda.coded_maxsim_pq(scores, table, np.minimum(centroids, 3), codes, norms, offsets)) == len(
        DOCLENS
    )
    with pytest.raises(ValueError, match="there are 4 centroids"):
        cuda.coded_maxsim_pq(scores, table, centroids, codes, norms, offsets)
