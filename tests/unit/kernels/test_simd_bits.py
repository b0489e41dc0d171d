"""Vector operations on bits, byte sums, masked loads and interleaved lanes, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import bits as b
from retrieval.kernels.simd import memory as m

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason=f"this host runs {host.simd_level()}")

RNG = np.random.default_rng(0)
OCTETS = RNG.integers(0, 256, 129, dtype=np.uint8)


def words(n: int) -> np.ndarray:
    return RNG.integers(-(2**63), 2**63, n, dtype=np.int64)


def test_shifts_sums_and_masks() -> None:
    out, sums = np.empty(8, np.int64), np.empty(8, np.int64)
    left, right = words(8), words(8)
    right[3] = left[3]

    @njit
    def run(octets, left, right, out, sums):  # type: ignore[no-untyped-def]
        m.store_i64(out, 0, b.shift_left(m.load_i64(left, 0), 13))
        m.store_i64(sums, 0, b.sum_bytes(m.load_i8(octets, 1)))
        return b.mask_less_i64(m.load_i64(left, 0), m.load_i64(right, 0))

    mask = run(OCTETS, left, right, out, sums)
    np.testing.assert_array_equal(out, left << 13)
    np.testing.assert_array_equal(sums, OCTETS[1:65].reshape(8, 8).sum(axis=1))
    assert mask == sum(1 << i for i in range(8) if left[i] < right[i])


@pytest.mark.parametrize("mask", [0, 1, 0xFFFF, 2**63, 2**64 - 1, 0xDEADBEEF12345678])
def test_masked_load(mask: int) -> None:
    out = np.empty(64, np.uint8)

    @njit
    def run(octets, mask, out):  # type: ignore[no-untyped-def]
        m.store_i8(out, 0, b.load_masked_i8(octets, 3, mask))

    run(OCTETS, np.uint64(mask), out)
    chosen = np.array([mask >> i & 1 for i in range(64)], bool)
    np.testing.assert_array_equal(out, np.where(chosen, OCTETS[3:67], 0))


def test_interleaving() -> None:
    out = np.empty((4, 16), np.int32)
    a, c = OCTETS[:64].view(np.int32), OCTETS[64:128].view(np.int32)

    @njit
    def run(a, c, out):  # type: ignore[no-untyped-def]
        x, y = m.load_i32(a, 0), m.load_i32(c, 0)
        m.store_i32(out[0], 0, b.interleave_low_i32(x, y))
        m.store_i32(out[1], 0, b.interleave_high_i32(x, y))
        v, w = m.load_i64(a, 0), m.load_i64(c, 0)
        m.store_i64(out[2], 0, b.interleave_low_i64(v, w))
        m.store_i64(out[3], 0, b.interleave_high_i64(v, w))

    run(a, c, out)
    for first, row in ((0, out[0]), (2, out[1])):
        pairs = [(a[i + j], c[i + j]) for i in range(first, 16, 4) for j in range(2)]
        np.testing.assert_array_equal(row, np.ravel(pairs))
    for first, row in ((0, out[2]), (1, out[3])):
        expected = [half.view(np.int64)[i] for i in range(first, 8, 2) for half in (a, c)]
        np.testing.assert_array_equal(row.view(np.int64), expected)


@pytest.mark.skipif(not host.has("gfni"), reason="this host has no bit matrix instructions")
def test_bit_matrices() -> None:
    matrices, out = words(8), np.empty(64, np.uint8)

    @njit
    def run(octets, matrices, out):  # type: ignore[no-untyped-def]
        m.store_i8(out, 0, b.transform_bits(m.load_i8(octets, 0), m.load_i64(matrices, 0)))

    run(OCTETS, matrices, out)
    rows = matrices.view(np.uint8).reshape(8, 8)
    for i in range(64):
        bits = [int(OCTETS[i] & rows[i // 8, 7 - bit]).bit_count() & 1 for bit in range(8)]
        assert out[i] == sum(bit << k for k, bit in enumerate(bits))
