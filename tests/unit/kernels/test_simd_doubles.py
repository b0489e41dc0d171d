"""Vectors of float64 against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import doubles, memory
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.selection import count_bits

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason="needs AVX-512")


def test_doubles() -> None:
    rng = np.random.default_rng(0)
    floats, wide = rng.standard_normal(17).astype(np.float32), np.full(18, np.nan)
    a, b = rng.standard_normal(9), rng.standard_normal(8)

    @njit
    def run(floats, wide, a, b):  # type: ignore[no-untyped-def]
        doubles.store_widened(wide, 1, memory.load_f32(floats, 1))
        x, y = doubles.load_f64(a, 1), doubles.load_f64(b, 0)
        product = doubles.fma_f64(x, y, doubles.zero_f64())
        return doubles.sum_f64(product), doubles.sum_f64(add(x, y))

    product, total = run(floats, wide, a, b)
    np.testing.assert_array_equal(wide[1:17], floats[1:])
    assert np.isnan(wide[[0, 17]]).all()
    assert product == pytest.approx(a[1:] @ b, rel=1e-15, abs=1e-15)
    assert total == pytest.approx(a[1:].sum() + b.sum(), rel=1e-14, abs=1e-15)


def test_bits_of_words() -> None:
    @njit
    def run(word):  # type: ignore[no-untyped-def]
        return count_bits(np.uint32(word))

    assert [run(x) for x in (0, 1, 2**31, 2**32 - 1, 2**31 - 1)] == [0, 1, 1, 32, 31]
