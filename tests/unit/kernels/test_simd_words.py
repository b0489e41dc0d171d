"""Sixteen 32-bit lanes against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import memory as m
from retrieval.kernels.simd import words as w

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason=f"this host runs {host.simd_level()}")


def test_words() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 4, (2, 16)).astype(np.int32)
    bits, small = rng.integers(0, 32, 16).astype(np.int32), rng.integers(0, 2**16, 16, dtype=np.uint16)
    out, mask = np.zeros((3, 16), np.int32), np.uint16(0b1010011000010110)

    @njit
    def run(a, b, bits, small, mask, out):  # type: ignore[no-untyped-def]
        m.store_i32(out[0], 0, w.shift_right_each_i32(m.load_i32(a, 0), m.load_i32(bits, 0)))
        m.store_i32(out[1], 0, w.load_u16_as_i32(small, 0))
        m.store_i32(out[2], 0, w.compress_i32(m.load_i32(a, 0), mask))
        return w.mask_differs_i32(m.load_i32(a, 0), m.load_i32(b, 0)), w.lowest_bit(np.int64(mask))

    differs, lowest = run(a, b, bits, small, mask, out)
    assert differs == sum(1 << i for i in range(16) if a[i] != b[i])
    assert lowest == 1
    assert np.array_equal(out[0].view(np.uint32), a.view(np.uint32) >> bits.view(np.uint32))
    assert np.array_equal(out[1], small)
    chosen = a[[bool(mask >> i & 1) for i in range(16)]]
    assert np.array_equal(out[2, : len(chosen)], chosen)
