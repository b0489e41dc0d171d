"""Operations on 256-bit vectors against NumPy; also compiled for processors without AVX-512."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import config, njit

from retrieval.kernels import host
from retrieval.kernels.simd import halves as h

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")

EXTREME = np.array([-(2**15), 2**15 - 1, -1, 0, 1], np.int16)


def words(seed: int, n: int = 17) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.3, rng.choice(EXTREME, n), rng.integers(-(2**15), 2**15, n)).astype(
        np.int16
    )


def binary(load: Any, store: Any, operate: Any, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Apply at index 1, so that nothing is aligned."""
    njit(lambda a, b, out: store(out, 1, operate(load(a, 1), load(b, 1))))(a, b, out)
    assert out[0] == 0
    return out[1:]


@pytest.mark.parametrize("seed", range(5))
def test_products_and_maxima(seed: int) -> None:
    a, b = words(seed), words(seed + 100)
    wide = a[1:].astype(np.int64) * b[1:]
    pairs = binary(h.load_16i16, h.store_8i32, h.multiply_pairs, a, b, np.zeros(9, np.int32))
    # Twice the square of -2**15 leaves int32, and comes back as its least number.
    np.testing.assert_array_equal(pairs, (wide[::2] + wide[1::2]).astype(np.int32))
    fractions = binary(h.load_16i16, h.store_16i16, h.multiply_fraction, a, b, np.zeros(17, np.int16))
    np.testing.assert_array_equal(fractions, ((wide + 2**14) >> 15).astype(np.int16))
    larger = binary(h.load_16i16, h.store_16i16, h.maximum_16i16, a, b, np.zeros(17, np.int16))
    np.testing.assert_array_equal(larger, np.maximum(a, b)[1:])
    c, d = a.astype(np.int32)[:9] << 16, b.astype(np.int32)[:9] << 16
    larger = binary(h.load_8i32, h.store_8i32, h.maximum_8i32, c, d, np.zeros(9, np.int32))
    np.testing.assert_array_equal(larger, np.maximum(c, d)[1:])


def test_broadcasts() -> None:
    a, out = words(1), np.zeros(16, np.int16)
    njit(lambda a, out: h.store_16i16(out, 0, h.broadcast_pair(a, 3)))(a, out)
    np.testing.assert_array_equal(out, np.tile(a[3:5], 8))
    njit(lambda x, out: h.store_16i16(out, 0, h.splat_16i16(x)))(np.int16(-5), out)
    assert (out == -5).all()
    found = np.ones(8, np.int32)
    njit(lambda out: h.store_8i32(out, 0, h.zero_8i32()))(found)
    assert not found.any()


@pytest.mark.skipif(not host.picks_bytes(), reason="AVX2's instruction")
def test_bytes_of_a_table() -> None:
    rng = np.random.default_rng(0)
    table, index = rng.integers(0, 256, 17).astype(np.uint8), rng.integers(0, 256, 33).astype(np.uint8)

    @njit
    def pick(table, index, out):  # type: ignore[no-untyped-def]
        found = h.pick_bytes(h.broadcast_table(table, 1), h.load_32i8(index, 1))
        h.store_16i16(out, 0, h.as_16i16(h.as_32i8(found)))

    out = np.zeros(16, np.int16)
    pick(table, index, out)
    np.testing.assert_array_equal(out.view(np.uint8), np.where(index[1:] & 128, 0, table[1:][index[1:] & 15]))
