"""Every vector operation against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as m

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason=f"this host runs {host.simd_level()}")

RNG = np.random.default_rng(0)


def ints(dtype: str, n: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, n, dtype=dtype, endpoint=True)


@njit
def _binary(load, store, operate, a, b, out):  # type: ignore[no-untyped-def]
    store(out, 1, operate(load(a, 1), load(b, 1)))


def binary(load, store, operate, a: np.ndarray, b: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Apply at index 1, so that nothing is aligned."""
    out = np.zeros_like(a)
    function = njit(lambda a, b, out: store(out, 1, operate(load(a, 1), load(b, 1))))
    function(a, b, out)
    assert out[0] == 0
    return out[1:]


@pytest.mark.parametrize(
    ("name", "numpy"),
    [
        ("add", np.add),
        ("sub", np.subtract),
        ("bit_and", np.bitwise_and),
        ("bit_or", np.bitwise_or),
        ("bit_xor", np.bitwise_xor),
    ],
)
@pytest.mark.parametrize(("dtype", "lanes"), [("int8", 64), ("int16", 32), ("int32", 16), ("int64", 8)])
def test_integers(name: str, numpy, dtype: str, lanes: int) -> None:  # type: ignore[no-untyped-def]
    a, b = ints(dtype, lanes + 1), ints(dtype, lanes + 1)
    load, store = getattr(m, f"load_i{dtype[3:]}"), getattr(m, f"store_i{dtype[3:]}")
    np.testing.assert_array_equal(binary(load, store, getattr(v, name), a, b), numpy(a, b)[1:])


@pytest.mark.parametrize(
    ("operate", "dtype", "load", "store", "numpy"),
    [
        (v.maximum_i16, "int16", m.load_i16, m.store_i16, np.maximum),
        (v.maximum_i32, "int32", m.load_i32, m.store_i32, np.maximum),
        (v.minimum_i32, "int32", m.load_i32, m.store_i32, np.minimum),
        (v.maximum_u8, "uint8", m.load_i8, m.store_i8, np.maximum),
        (v.multiply, "int32", m.load_i32, m.store_i32, np.multiply),
        (
            v.add_saturated_u8,
            "uint8",
            m.load_i8,
            m.store_i8,
            lambda a, b: np.minimum(a.astype(int) + b, 255).astype("uint8"),
        ),
    ],
)
def test_integer_operations(operate, dtype, load, store, numpy) -> None:  # type: ignore[no-untyped-def]
    lanes = 64 // np.dtype(dtype).itemsize
    a, b = ints(dtype, lanes + 1), ints(dtype, lanes + 1)
    np.testing.assert_array_equal(binary(load, store, operate, a, b), numpy(a, b)[1:])


def test_floats() -> None:
    a, b, c = (RNG.standard_normal(16).astype(np.float32) for _ in range(3))
    out = np.empty((5, 16), np.float32)

    @njit
    def run(a, b, c, out):  # type: ignore[no-untyped-def]
        x, y, z = m.load_f32(a, 0), m.load_f32(b, 0), m.load_f32(c, 0)
        m.store_f32(out[0], 0, v.fma(x, y, z))
        m.store_f32(out[1], 0, v.maximum_f32(x, y))
        m.store_f32(out[2], 0, v.multiply(x, v.splat_f32(3)))
        m.store_f32(out[3], 0, v.add(x, v.zero_f32()))
        return v.sum_f32(x), v.largest_f32(x)

    total, largest = run(a, b, c, out)
    np.testing.assert_allclose(out[0], a.astype(float) * b + c, rtol=1e-6)
    np.testing.assert_array_equal(out[1:4], [np.maximum(a, b), a * 3, a])
    assert total == pytest.approx(a.sum(), rel=1e-5)
    assert largest == a.max()


def test_widening_loads() -> None:
    halves = RNG.standard_normal(17).astype(np.float16)
    octets = ints("uint8", 33)
    floats, i16, i32 = np.empty(16, np.float32), np.empty(32, np.int16), np.empty(16, np.int32)
    upper = np.empty(16, np.float32)

    @njit
    def run(halves, octets, floats, i16, i32, upper):  # type: ignore[no-untyped-def]
        m.store_f32(floats, 0, m.load_f16(halves, 1))
        m.store_f32(upper, 0, m.load_bf16(halves, 1))
        m.store_i16(i16, 0, m.load_u8_as_i16(octets, 1))
        m.store_i32(i32, 0, m.load_u8_as_i32(octets, 1))

    run(halves.view(np.uint16), octets, floats, i16, i32, upper)
    np.testing.assert_array_equal(upper.view(np.uint32) >> 16, halves.view(np.uint16)[1:])
    np.testing.assert_array_equal(floats, halves[1:].astype(np.float32))
    np.testing.assert_array_equal(i16, octets[1:])
    np.testing.assert_array_equal(i32, octets[1:17])


def test_dot_products() -> None:
    unsigned, signed = ints("uint8", 64), ints("int8", 64)
    total = ints("int16", 16).astype(np.int32)
    out = np.empty(16, np.int32)

    @njit
    def run(unsigned, signed, total, out):  # type: ignore[no-untyped-def]
        m.store_i32(out, 0, v.dot_u8i8(m.load_i32(total, 0), m.load_i8(unsigned, 0), m.load_i8(signed, 0)))

    run(unsigned, signed, total, out)
    np.testing.assert_array_equal(out, total + (unsigned.astype(int) * signed).reshape(16, 4).sum(1))


@pytest.mark.skipif(not host.has("avx512bf16"), reason="this host has no bfloat16 instructions")
def test_dot_bf16() -> None:
    a, b = (RNG.integers(-8, 8, 32).astype(np.float32) for _ in range(2))  # exact in bfloat16
    halves = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (a, b)]
    out = np.empty(16, np.float32)

    @njit
    def run(a, b, out):  # type: ignore[no-untyped-def]
        m.store_f32(
            out, 0, v.dot_bf16(v.splat_f32(1), v.as_i32(m.load_i16(a, 0)), v.as_i32(m.load_i16(b, 0)))
        )

    run(*halves, out)
    np.testing.assert_array_equal(out, 1 + (a * b).reshape(16, 2).sum(1))


def test_shuffles_shifts_and_counts() -> None:
    table, index = ints("uint8", 64), ints("uint8", 64)
    words = ints("int64", 8)
    out = np.empty((5, 64), np.uint8)
    counts, shifted = np.empty(8, np.int64), np.empty(16, np.int32)

    @njit
    def run(table, index, words, out, counts, shifted):  # type: ignore[no-untyped-def]
        m.store_i8(out[0], 0, v.shuffle_bytes(m.broadcast16(table, 3), m.load_i8(index, 0)))
        m.store_i8(out[1], 0, v.permute_bytes(m.load_i8(table, 0), m.load_i8(index, 0)))
        m.store_i8(out[2], 0, v.as_i8(m.broadcast4(table, 5)))
        m.store_i8(out[3], 0, v.splat_i8(-3))
        m.store_i64(counts, 0, v.popcount(m.load_i64(words, 0)))
        m.store_i32(shifted, 0, v.shift_right(v.as_i32(m.load_i8(table, 0)), 5))
        m.prefetch(table, 10**9)
        return (
            v.sum_i64(m.load_i64(words, 0)),
            v.sum_i32(v.splat_i32(-7)),
            v.largest_i32(v.as_i32(m.load_i8(table, 0))),
        )

    sums = run(table, index, words, out, counts, shifted)
    np.testing.assert_array_equal(out[0], np.where(index & 0x80, 0, table[3:19][index & 15]))
    np.testing.assert_array_equal(out[1], table[index & 63])
    np.testing.assert_array_equal(out[2], np.tile(table[5:9], 16))
    assert (out[3] == 253).all()
    np.testing.assert_array_equal(counts, [int(w).bit_count() for w in words.view(np.uint64)])
    np.testing.assert_array_equal(shifted.view(np.uint32), table.view(np.uint32) >> 5)
    assert sums == (int(words.sum()), -112, int(table.view(np.int32).max()))


def test_masks() -> None:
    a, b = ints("int32", 16), ints("int32", 16)
    c, d = ints("int16", 32), ints("int16", 32)

    @njit
    def run(a, b, c, d):  # type: ignore[no-untyped-def]
        return v.mask_greater_i32(m.load_i32(a, 0), m.load_i32(b, 0)), v.mask_greater_i16(
            m.load_i16(c, 0), m.load_i16(d, 0)
        )

    small, large = run(a, b, c, d)
    assert small == sum(1 << i for i in range(16) if a[i] > b[i])
    assert large == sum(1 << i for i in range(32) if c[i] > d[i])
