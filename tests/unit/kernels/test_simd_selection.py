"""Masks, compression, interleaving, tables and gathers against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as m
from retrieval.kernels.simd import selection as s

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason=f"this host runs {host.simd_level()}")

RNG = np.random.default_rng(0)


def octets(n: int) -> np.ndarray:
    return RNG.integers(0, 256, n, dtype=np.uint8)


def test_masks() -> None:
    a = RNG.integers(-2, 3, 16).astype(np.float32)
    a[[3, 9]], a[5], a[6] = np.nan, np.inf, -0.0
    b = np.roll(a, 1)
    c, d = RNG.integers(-2, 3, 8), RNG.integers(-2, 3, 8)
    e, f = RNG.integers(0, 2, 64, dtype=np.uint8), RNG.integers(0, 2, 64, dtype=np.uint8)

    @njit
    def run(a, b, c, d, e, f):  # type: ignore[no-untyped-def]
        x, y = m.load_f32(a, 0), m.load_f32(b, 0)
        return (
            s.mask_exceeds_f32(x, y),
            s.mask_nan_f32(x, x),
            s.mask_at_most_i64(m.load_i64(c, 0), m.load_i64(d, 0)),
            s.mask_differs_i8(m.load_i8(e, 0), m.load_i8(f, 0)),
            s.count_bits(s.mask_nan_f32(x, x)),
        )

    exceeds, nan, at_most, differs, count = run(a, b, c, d, e, f)
    assert exceeds == sum(1 << i for i in range(16) if not a[i] <= b[i])
    assert nan == (1 << 3) + (1 << 9)
    assert at_most == sum(1 << i for i in range(8) if c[i] <= d[i])
    assert differs == sum(1 << i for i in range(64) if e[i] != f[i])
    assert count == 2


def test_compress_zip_and_order() -> None:
    words = RNG.integers(-(2**62), 2**62, 8)
    low, high = RNG.integers(-(2**31), 2**31, (2, 16)).astype(np.int32)
    floats = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, 3e-45, -3e-45] * 2, np.float32)
    out, pairs, order = np.zeros((2, 8), np.int64), np.zeros((2, 8), np.int64), np.zeros((2, 16), np.int32)

    @njit
    def run(words, low, high, floats, out, pairs, order):  # type: ignore[no-untyped-def]
        m.store_i64(out[0], 0, s.compress_i64(m.load_i64(words, 0), np.uint8(0b10110001)))
        m.store_i64(out[1], 0, s.splat_i64(words[3]))
        m.store_i64(pairs[0], 0, s.zip_low_i32(m.load_i32(low, 0), m.load_i32(high, 0)))
        m.store_i64(pairs[1], 0, s.zip_high_i32(m.load_i32(low, 0), m.load_i32(high, 0)))
        m.store_i32(order[0], 0, s.order_bits_f32(m.load_f32(floats, 0)))
        m.store_i32(order[1], 0, s.iota_i32())

    run(words, low, high, floats, out, pairs, order)
    np.testing.assert_array_equal(out[0, :4], words[[0, 4, 5, 7]])
    assert (out[1] == words[3]).all()
    np.testing.assert_array_equal(pairs.reshape(-1), (high.astype(np.int64) << 32) | low.view(np.uint32))
    for i in range(16):
        np.testing.assert_array_equal(order[0, i] < order[0], floats[i] < floats)
    np.testing.assert_array_equal(order[1], np.arange(16))


def test_tables() -> None:
    table, index = octets(256), octets(64)
    floats = RNG.standard_normal(300).astype(np.float32)
    out, found = np.zeros((2, 64), np.uint8), np.zeros((2, 16), np.float32)

    @njit
    def run(table, index, floats, out, found):  # type: ignore[no-untyped-def]
        x = m.load_i8(index, 0)
        low = s.permute_two_i8(m.load_i8(table, 0), m.load_i8(table, 64), x)
        high = s.permute_two_i8(m.load_i8(table, 128), m.load_i8(table, 192), x)
        m.store_i8(out[0], 0, low)
        m.store_i8(out[1], 0, s.choose_by_sign_i8(x, low, high))
        lanes = m.load_u8_as_i32(index, 7)
        m.store_f32(found[0], 0, s.permute_f32(m.load_f32(floats, 0), lanes))
        m.store_f32(found[1], 0, s.gather_f32(floats, 5, lanes))

    run(table, index, floats, out, found)
    np.testing.assert_array_equal(out[0], table[index & 127])
    np.testing.assert_array_equal(out[1], table[index])
    np.testing.assert_array_equal(found[0], floats[index[7:23] & 15])
    np.testing.assert_array_equal(found[1], floats[5 + index[7:23].astype(int)])


def test_rows_and_interleaving() -> None:
    data, out = octets(200), np.zeros((3, 64), np.uint8)

    @njit
    def run(data, out):  # type: ignore[no-untyped-def]
        a, b = s.load_rows_i8(data, 3, 21), m.load_i8(data, 100)
        m.store_i8(out[0], 0, a)
        m.store_i8(out[1], 0, s.interleave_low_i8(a, b))
        m.store_i8(out[2], 0, s.interleave_high_i8(a, b))
        return v.sum_i32(v.as_i32(a))

    run(data, out)
    rows = np.stack([data[3 + 21 * i : 19 + 21 * i] for i in range(4)])
    np.testing.assert_array_equal(out[0].reshape(4, 16), rows)
    pairs = np.stack([rows, data[100:164].reshape(4, 16)], axis=2)
    np.testing.assert_array_equal(out[1].reshape(4, 8, 2), pairs[:, :8])
    np.testing.assert_array_equal(out[2].reshape(4, 8, 2), pairs[:, 8:])


def test_scaled_bytes() -> None:
    a, out = RNG.standard_normal(16).astype(np.float32), np.zeros(20, np.uint8)
    a[:4] = a.min() + np.array([0.5, 1.5, 2.5, 0], np.float32) / 32  # ties
    low, factor = float(a.min()), 32.0

    @njit
    def run(a, low, factor, out):  # type: ignore[no-untyped-def]
        s.store_scaled_u8(out, 2, m.load_f32(a, 0), low, factor)

    run(a, low, factor, out)
    np.testing.assert_array_equal(out[2:18], np.rint((a.astype(np.float64) - low) * factor).astype(np.uint8))
    assert not out[:2].any()
    assert not out[18:].any()
