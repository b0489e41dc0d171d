"""Residuals to codes and back, on the processor: see `retrieval.kernels.residuals.reference`.

No loop looks at two tokens together, so that a code depends on its token alone. They are written so that
LLVM finds the vectors: the innermost loop runs over tokens, or over dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.residuals.reference import LARGEST, Around, part_starts
from retrieval.kernels.residuals.words import bucket_words, product_words, word_values
from retrieval.types import FloatArray, IntArray

__all__ = ["bucket_codes", "bucket_values", "inverse_norms", "product_codes", "product_values"]

LANES = 64
"""Tokens coded side by side: the inner loop runs over them, and every step of it is the same."""
BITS = (1, 2, 4)


def product_codes(residuals: FloatArray, codebooks: FloatArray) -> NDArray[np.uint8]:
    """See `reference.product_codes`; the same but for codewords as near as rounding.

    Raises:
        ValueError: arrays of another type, or shapes that do not fit.
    """
    _check("residuals", residuals, 2)
    nbits = _nbits(codebooks, residuals.shape[1])
    m = len(codebooks)
    biases = (-0.5 * (codebooks.astype(np.float64) ** 2).sum(axis=2)).astype(np.float32)
    codes = np.zeros((len(residuals), -(-m * nbits // 8)), np.uint8)
    starts = part_starts(residuals.shape[1], m)
    _encode_parts(plain(residuals), plain(codebooks), biases, starts, nbits, codes)
    return codes


def product_values(
    codes: NDArray[np.uint8], codebooks: FloatArray, dim: int, around: Around | None = None
) -> FloatArray:
    """See `reference.product_values`; the same.

    Raises:
        ValueError: as `product_codes`, and `word_values`.
    """
    _nbits(codebooks, dim)
    return word_values(codes, product_words(codebooks, dim), around)


def bucket_codes(residuals: FloatArray, edges: FloatArray, bits: int) -> NDArray[np.uint8]:
    """See `reference.bucket_codes`; the same.

    Raises:
        ValueError: as `product_codes`; another number of bits than 1, 2 and 4.
    """
    _check_bits(bits)
    _check("residuals", residuals, 2)
    _check("edges", edges, 2)
    dim = residuals.shape[1]
    if edges.shape[1] != dim or len(edges) >= 2**bits:
        raise ValueError(f"edges are {edges.shape}: give at most {2**bits - 1} for each of {dim} dimensions")
    codes = np.zeros((len(residuals), -(-dim * bits // 8)), np.uint8)
    _encode_dimensions(plain(residuals), plain(edges), bits, codes)
    return codes


def bucket_values(
    codes: NDArray[np.uint8], buckets: FloatArray, bits: int, around: Around | None = None
) -> FloatArray:
    """See `reference.bucket_values`; the same.

    Raises:
        ValueError: as `bucket_codes`, and `word_values`.
    """
    _check_bits(bits)
    _check("buckets", buckets, 2)
    if buckets.shape[1] != 2**bits:
        raise ValueError(f"buckets are {buckets.shape}: give {2**bits} for each dimension")
    return word_values(codes, bucket_words(buckets, bits), around)


def inverse_norms(
    values: FloatArray, centroids: FloatArray, ordinals: IntArray, residuals: FloatArray
) -> FloatArray:
    """See `reference.inverse_norms`; the same up to rounding.

    Raises:
        ValueError: arrays of another type, shapes that do not fit, or an ordinal without centroid.
    """
    for name, array in (("values", values), ("centroids", centroids), ("residuals", residuals)):
        _check(name, array, 2)
    if values.shape != residuals.shape or centroids.shape[1] != values.shape[1]:
        raise ValueError(
            f"values {values.shape}, centroids {centroids.shape} and residuals {residuals.shape} do not fit"
        )
    if ordinals.shape != values.shape[:1] or ordinals.dtype != np.int64:
        raise ValueError(f"ordinals are {ordinals.dtype} {ordinals.shape}: give int64 ({len(values)},)")
    if len(ordinals) and not 0 <= ordinals.min() <= ordinals.max() < len(centroids):
        raise ValueError(f"ordinals leave the {len(centroids)} centroids")
    norms = np.empty(len(values), np.float32)
    _inverse_norms(plain(values), plain(centroids), plain(ordinals), plain(residuals), norms)
    return norms


def _nbits(codebooks: FloatArray, dim: int) -> int:
    """Of a part's code."""
    _check("codebooks", codebooks, 3)
    m, ksub, dsub = codebooks.shape
    if ksub not in (16, 256) or not 1 <= m <= dim or dsub < -(-dim // m):
        raise ValueError(f"codebooks are {codebooks.shape}: give (m, 16 or 256, {dim} / m)")
    return 4 if ksub == 16 else 8


def _check(name: str, array: Any, ndim: int) -> None:
    if array.dtype != np.float32 or array.ndim != ndim:
        raise ValueError(f"{name} must be float32 of {ndim} axes, got {array.dtype} {array.shape}")


def _check_bits(bits: int) -> None:
    if bits not in BITS:
        raise ValueError(f"bits is {bits}: codes of 1, 2 and 4 bits a dimension are known")


@njit(nogil=True, cache=True, error_model="numpy")
def _choose(columns: Any, codebook: Any, biases: Any, first: Any, last: Any, state: Any) -> None:
    """The best codeword of one part for each lane, to ``state`` (sums, best scores, choices)."""
    sums, best, chosen = state
    best[:] = -np.inf
    chosen[:] = 0
    for word in range(len(codebook)):
        for lane in range(LANES):
            sums[lane] = biases[word]
        for j in range(first, last):
            factor = codebook[word, j - first]
            for lane in range(LANES):
                sums[lane] += columns[j, lane] * factor
        for lane in range(LANES):
            better = sums[lane] > best[lane]
            best[lane] = sums[lane] if better else best[lane]
            chosen[lane] = word if better else chosen[lane]


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_parts(residuals: Any, codebooks: Any, biases: Any, starts: Any, nbits: int, codes: Any) -> None:
    """Nearest codewords of every part of ``residuals`` ``(n, d)``, packed into zeroed ``codes``.

    ``biases`` ``(m, ksub)`` are minus half the codewords' squared lengths; part ``p`` has the dimensions
    ``starts[p]:starts[p + 1]``, and ``codebooks`` ``(m, ksub, dsub)`` its codewords, filled up with zeros.
    """
    n, dim = residuals.shape
    columns = np.zeros((dim, LANES), np.float32)
    sums, best, chosen = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    for at in range(0, n, LANES):
        count = min(LANES, n - at)
        for lane in range(count):
            for j in range(dim):
                columns[j, lane] = residuals[at + lane, j]
        for part in range(len(codebooks)):
            _choose(
                columns, codebooks[part], biases[part], starts[part], starts[part + 1], (sums, best, chosen)
            )
            if nbits == 8:
                for lane in range(count):
                    codes[at + lane, part] = chosen[lane]
            else:
                for lane in range(count):
                    codes[at + lane, part // 2] |= np.uint8(chosen[lane] << (part % 2 * 4))


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_dimensions(residuals: Any, edges: Any, bits: int, codes: Any) -> None:
    """How many of a dimension's ``edges`` ``(2**bits - 1, d)``, ascending, lie below, to zeroed ``codes``."""
    n, dim = residuals.shape
    levels = np.empty(dim, np.uint8)
    for i in range(n):
        levels[:] = 0
        for edge in range(len(edges)):
            for j in range(dim):
                levels[j] += np.uint8(residuals[i, j] > edges[edge, j])
        for j in range(dim):
            codes[i, j * bits // 8] |= np.uint8(levels[j] << (j * bits % 8))


@njit(nogil=True, cache=True, error_model="numpy")
def _inverse_norms(values: Any, centroids: Any, ordinals: Any, residuals: Any, norms: Any) -> None:
    for i in range(len(values)):
        length, coded, at = 0.0, 0.0, ordinals[i]
        for j in range(values.shape[1]):
            length += np.float64(values[i, j]) * np.float64(values[i, j])
            total = np.float64(centroids[at, j]) + np.float64(residuals[i, j])
            coded += total * total
        length, coded = np.sqrt(length), np.sqrt(coded)
        norms[i] = length / coded if coded > 0 and length <= coded * LARGEST else 0.0
