"""A query as `retrieval.kernels.maxsim.avx512` reads it: tokens in lanes, dimensions in steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.types import FloatArray

__all__ = ["LANES", "LINE", "from_line", "pack", "pack_single", "to_bf16", "to_lanes"]

LANES = 16
"""Query tokens in a vector: a group."""
LINE = 64
"""Bytes of a cache line."""


def to_bf16(values: FloatArray) -> NDArray[np.uint16]:
    """See `retrieval.kernels.maxsim.reference.to_bf16`; equal."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    # Of the numbers, only a NaN can carry over into the sign, and it is replaced.
    nearest = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    nearest[np.isnan(values)] = 0x7FC0
    return nearest


def pack(query: NDArray[Any]) -> NDArray[Any]:
    """``(n_q, d)`` int8, uint16 or float32 -> flat, in 64-byte vectors on 64-byte boundaries.

    Vector ``v`` of a step holds, for each of 16 query tokens, the four bytes that meet four bytes of
    a document token. Groups of 16 tokens go in pairs: ``[pair][step][2][16 tokens]``, then perhaps
    one ``[step][16 tokens]``. Missing tokens are zeros: their inner products are 0, as is the
    largest of them. If a row's bytes are not a multiple of four, the last step covers its last four
    bytes again, so what an earlier step has covered is zero there.
    """
    n_q, d = query.shape
    per_step = 4 // query.itemsize
    steps, groups = -(-d // per_step), -(-n_q // LANES)
    if tail := d % per_step:
        padded = np.zeros((n_q, steps * per_step), dtype=query.dtype)
        padded[:, :d] = query
        padded[:, -per_step:] = np.roll(padded[:, -per_step:], per_step - tail, axis=1)
        query = padded
    packed = _aligned(groups * LANES * steps * per_step, query.dtype)
    to_lanes(np.ascontiguousarray(query).view(np.uint32), packed.view(np.uint32))
    return packed


@njit(nogil=True, cache=True, error_model="numpy")
def to_lanes(words, packed):  # type: ignore[no-untyped-def]
    """``(n_q, steps)`` words of four bytes to the order of `pack`, which is filled up with zeros."""
    n_q, steps = words.shape
    groups = len(packed) // (LANES * steps)
    for t in range(groups * LANES):
        group, lane = t // LANES, t % LANES
        paired = group < groups // 2 * 2
        at = group // 2 * 2 * steps + group % 2 if paired else group * steps
        for step in range(steps):
            packed[LANES * (at + step * (1 + paired)) + lane] = words[t, step] if t < n_q else 0


@njit(nogil=True, error_model="numpy")
def from_line(room):  # type: ignore[no-untyped-def]
    """The flat array from its first number that begins a cache line, at most 63 bytes less: a vector, or a
    row of a tile, that lies on two lines is read and written twice."""
    return room[(LINE - room.ctypes.data % LINE) % LINE // room.itemsize :]


def pack_single(query: NDArray[Any]) -> NDArray[Any]:
    """``(d,)``, at least a vector of it, -> flat, in 64-byte vectors along the dimensions.

    The last one covers the last 64 bytes again; what the one before it has covered is zero there.
    """
    lanes = LINE // query.itemsize
    n_vectors = -(-len(query) // lanes)
    packed = _aligned(n_vectors * lanes, query.dtype)
    packed[:] = 0
    whole = len(query) // lanes * lanes
    packed[:whole] = query[:whole]
    if whole < len(query):
        packed[whole - len(query) :] = query[whole:]
    return packed


def _aligned(n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An empty array that begins on a cache line."""
    room = np.empty(n * dtype.itemsize + LINE, dtype=np.uint8)
    skip = -room.ctypes.data % LINE
    return room[skip : skip + n * dtype.itemsize].view(dtype)
