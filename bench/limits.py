"""What this machine can do at most, measured: the rates that kernels are compared with.

Loops of nothing but one instruction on registers (``int8``, ``bf16``, ``fp32``: operations a second,
a multiply-add counts two), and of nothing but loads (``read`` from memory, ``cache`` from the first
level: bytes a second). One thread. Without AVX-512 only ``read`` is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from bench.cases.base import Limit
from retrieval.kernels import host
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as m

__all__ = ["Probe", "limit_probes"]

Probe = tuple[Callable[[], object], float]
"""A call, and the operations or bytes that it takes."""

ROUNDS = 100_000
MEMORY = 256 << 20
CACHE = 16 << 10
CACHE_ROUNDS = 4096


def _chains(start: Any, step: Any, fold: Any) -> Callable[..., Any]:
    """Twelve independent chains of ``step``: more than its latency needs, few enough for registers."""

    @njit(nogil=True)
    def loop(data, rounds):  # type: ignore[no-untyped-def]
        x, y = m.load_i32(data, 0), m.load_i32(data, 16)
        s = (start(), start(), start(), start(), start(), start())
        t = (start(), start(), start(), start(), start(), start())
        for _ in range(rounds):
            s = (
                step(s[0], x, y),
                step(s[1], x, y),
                step(s[2], x, y),
                step(s[3], x, y),
                step(s[4], x, y),
                step(s[5], x, y),
            )
            t = (
                step(t[0], x, y),
                step(t[1], x, y),
                step(t[2], x, y),
                step(t[3], x, y),
                step(t[4], x, y),
                step(t[5], x, y),
            )
        return fold(s) + fold(t)

    return loop  # type: ignore[no-any-return]


@njit(nogil=True)
def _fold_i32(s):  # type: ignore[no-untyped-def]
    return v.sum_i32(v.add(v.add(v.add(s[0], s[1]), v.add(s[2], s[3])), v.add(s[4], s[5])))


@njit(nogil=True)
def _fold_f32(s):  # type: ignore[no-untyped-def]
    return v.sum_f32(v.add(v.add(v.add(s[0], s[1]), v.add(s[2], s[3])), v.add(s[4], s[5])))


@njit(nogil=True)
def _fma(a, x, y):  # type: ignore[no-untyped-def]
    return v.fma(v.as_f32(x), v.as_f32(y), a)


@njit(nogil=True)
def _read(data, rounds):  # type: ignore[no-untyped-def]
    a, b, c, d = v.zero_i64(), v.zero_i64(), v.zero_i64(), v.zero_i64()
    for _ in range(rounds):
        for i in range(0, len(data), 32):
            a, b = v.bit_xor(a, m.load_i64(data, i)), v.bit_xor(b, m.load_i64(data, i + 8))
            c, d = v.bit_xor(c, m.load_i64(data, i + 16)), v.bit_xor(d, m.load_i64(data, i + 24))
        a = v.add(a, b)  # keeps the rounds apart
    return v.sum_i64(v.bit_xor(v.bit_xor(a, b), v.bit_xor(c, d)))


def limit_probes() -> dict[Limit, Probe]:
    """Compiled and warm calls, to be timed beside the kernels."""
    memory = np.ones(MEMORY // 8, dtype=np.int64)
    if host.simd_level() != "avx512":
        return {"read": (memory.sum, MEMORY)}
    data = np.ones(32, dtype=np.int32)
    cache = np.ones(CACHE // 8, dtype=np.int64)
    int8, fp32 = _chains(v.zero_i32, v.dot_u8i8, _fold_i32), _chains(v.zero_f32, _fma, _fold_f32)
    probes: dict[Limit, Probe] = {
        "int8": (lambda: int8(data, ROUNDS), ROUNDS * 12 * 128.0),
        "fp32": (lambda: fp32(data, ROUNDS), ROUNDS * 12 * 32.0),
        "read": (lambda: _read(memory, 1), float(MEMORY)),
        "cache": (lambda: _read(cache, CACHE_ROUNDS), float(CACHE * CACHE_ROUNDS)),
    }
    if host.has("avx512bf16"):
        bf16 = _chains(v.zero_f32, v.dot_bf16, _fold_f32)
        probes["bf16"] = (lambda: bf16(data, ROUNDS), ROUNDS * 12 * 64.0)
    for call, _ in probes.values():
        call()
    return probes
