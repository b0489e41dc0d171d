"""Parts of vectors and small integers against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import integers as n
from retrieval.kernels.simd import memory as m
from retrieval.kernels.simd import partial as p

pytestmark = pytest.mark.skipif(host.simd_level() != "avx512", reason=f"this host runs {host.simd_level()}")

RNG = np.random.default_rng(0)


def ints(dtype: str, size: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, size, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 31, 32, 63, 64, 500])
def test_partial_loads(count: int) -> None:
    octets, words = ints("uint8", 65), ints("int16", 33)
    floats = RNG.standard_normal(17).astype(np.float32)
    halves = floats.astype(np.float16)

    @njit
    def run(octets, words, floats, halves, count, o8, o16, wide, o32, ohalf):  # type: ignore[no-untyped-def]
        m.store_i8(o8, 0, p.load_part_i8(octets, 1, count))
        m.store_i16(o16, 0, p.load_part_i16(words, 1, count))
        m.store_i16(wide, 0, p.load_part_u8_as_i16(octets, 1, count))
        m.store_f32(o32, 0, p.load_part_f32(floats, 1, count))
        m.store_f32(ohalf, 0, p.load_part_f32(halves, 1, count))

    o8, o16, wide = np.empty(64, np.uint8), np.empty(32, np.int16), np.empty(32, np.int16)
    o32, ohalf = np.empty(16, np.float32), np.empty(16, np.float32)
    # Exactly as many elements as may be touched.
    run(
        octets[: 1 + count],
        words[: 1 + count],
        floats[: 1 + count],
        halves.view(np.uint16)[: 1 + count],
        count,
        o8,
        o16,
        wide,
        o32,
        ohalf,
    )
    for out, source, lanes in (
        (o8, octets, 64),
        (o16, words, 32),
        (wide, octets, 32),
        (o32, floats, 16),
        (ohalf, halves, 16),
    ):
        expected = source[1 : 1 + lanes].astype(out.dtype)
        expected[count:] = 0
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "int64", "float32"])
def test_elements(dtype: str) -> None:
    array = RNG.standard_normal(9).astype(dtype) if dtype == "float32" else ints(dtype, 9)
    got = njit(lambda array, i: p.element(array, i))(array, 7)
    assert got == array[7]
    assert isinstance(got, float if dtype == "float32" else int)


def test_words() -> None:
    octets = ints("uint8", 9)
    octets[7] = 255
    assert njit(lambda array, i: p.word(array, i))(octets, 4) == int.from_bytes(
        octets[4:8].tobytes(), "little"
    )


def test_halves_and_sums() -> None:
    a, b = ints("uint8", 65), ints("uint8", 65)
    words = ints("int16", 33)

    @njit
    def run(a, b, words):  # type: ignore[no-untyped-def]
        larger = n.maximum_half_u8(
            p.load_half_i8(a, 1), n.maximum_half_u8(p.load_half_i8(b, 1), n.zero_half_i8())
        )
        return n.sum_half_u8(larger), n.sum_u8(m.load_i8(a, 1)), n.sum_i16(m.load_i16(words, 1))

    assert run(a, b, words) == (np.maximum(a, b)[1:33].sum(), a[1:].sum(), words[1:].sum())


def test_fixed_point() -> None:
    a, b = ints("int16", 32), ints("int16", 32)
    floats = np.concatenate([[0.5, 1.5, -0.5, -2.5, 32766.5], RNG.uniform(-3e4, 3e4, 11)]).astype(np.float32)
    product, shifted, rounded = np.empty(32, np.int16), np.empty(32, np.int16), np.empty(17, np.int16)
    rounded[16] = 7

    @njit
    def run(a, b, floats, product, shifted, rounded):  # type: ignore[no-untyped-def]
        m.store_i16(product, 0, n.multiply_high_i16(m.load_i16(a, 0), m.load_i16(b, 0)))
        m.store_i16(shifted, 0, n.shift_left(m.load_i16(a, 0), 4))
        p.store_i32_as_i16(rounded, 0, n.round_i32(v.add(m.load_f32(floats, 0), v.zero_f32())))

    run(a, b, floats, product, shifted, rounded)
    np.testing.assert_array_equal(product, (a.astype(np.int32) * b + 2**14) >> 15)
    np.testing.assert_array_equal(shifted, (a.astype(np.int32) << 4).astype(np.int16))
    np.testing.assert_array_equal(rounded[:16], np.rint(floats))
    assert rounded[16] == 7
