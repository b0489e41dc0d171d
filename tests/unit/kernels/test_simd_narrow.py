"""Rounding, narrowing and sums of vectors against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import memory as m
from retrieval.kernels.simd import narrow as n

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason=f"this host runs {host.simd_level()}")

RNG = np.random.default_rng(0)


def test_rounding() -> None:
    floats = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 8388609, -8388609, 3e9, -3e9, np.nan] + [0] * 5)
    out = np.empty(16, np.int32)

    @njit
    def run(floats, out):  # type: ignore[no-untyped-def]
        m.store_i32(out, 0, n.nearest_i32(m.load_f32(floats, 0)))

    run(floats.astype(np.float32), out)
    none = -(2**31)
    assert out.tolist() == [0, 2, 2, 0, -2, 0, 8388609, -8388609, none, none, none] + [0] * 5


def test_narrowing_keeps_the_order_and_saturates() -> None:
    values = RNG.integers(-300, 600, 64).astype(np.int32)
    values[[0, 17, 33, 63]] = [2**31 - 1, -(2**31), 40000, -40000]
    octets, halves, words = np.empty(64, np.uint8), np.zeros(100, np.uint8), np.empty(32, np.int16)

    @njit
    def run(values, octets, halves, words):  # type: ignore[no-untyped-def]
        a, b = m.load_i32(values, 0), m.load_i32(values, 16)
        both = n.narrow_u8(a, b, m.load_i32(values, 32), m.load_i32(values, 48))
        m.store_i8(octets, 0, both)
        n.store_low_half(halves, 1, both)
        n.store_high_half(halves, 50, both)
        m.store_i16(words, 0, n.narrow_i16(a, b))

    run(values, octets, halves, words)
    expected = values.clip(0, 255)
    np.testing.assert_array_equal(octets, expected)
    np.testing.assert_array_equal(halves[1:33], expected[:32])
    np.testing.assert_array_equal(halves[50:82], expected[32:])
    assert not halves[[0, *range(33, 50), *range(82, 100)]].any()
    np.testing.assert_array_equal(words, values[:32].clip(-(2**15), 2**15 - 1))


@pytest.mark.parametrize("bits", [0, 1, 13, 31])
def test_signed_shift(bits: int) -> None:
    values, out = RNG.integers(-(2**31), 2**31, 16).astype(np.int32), np.empty(16, np.int32)

    @njit
    def run(values, bits, out):  # type: ignore[no-untyped-def]
        m.store_i32(out, 0, n.shift_right_signed(m.load_i32(values, 0), bits))

    run(values, bits, out)
    np.testing.assert_array_equal(out, values >> bits)


def test_choice() -> None:
    a, b, x, y = RNG.integers(-3, 4, (4, 32)).astype(np.int16)
    a[:2], b[:2] = [2**15 - 1, -(2**15)], [-(2**15), 2**15 - 1]
    out = np.empty(32, np.int16)

    @njit
    def run(a, b, x, y, out):  # type: ignore[no-untyped-def]
        chosen = n.choose_greater_i16(m.load_i16(a, 0), m.load_i16(b, 0), m.load_i16(x, 0), m.load_i16(y, 0))
        m.store_i16(out, 0, chosen)

    run(a, b, x, y, out)
    np.testing.assert_array_equal(out, np.where(a > b, x, y))


def test_sums_of_quarters() -> None:
    values = RNG.integers(-(2**28), 2**28, (2, 4, 4)).astype(np.int32)
    out = np.empty(8, np.int64)

    @njit
    def run(values, out):  # type: ignore[no-untyped-def]
        m.store_i64(out, 0, n.sum_quarters_i64(m.load_i32(values, 0), m.load_i32(values, 16)))

    run(values.reshape(-1), out)
    np.testing.assert_array_equal(out, values.sum(axis=1).reshape(-1))
