"""Residuals to codes and back, in plain NumPy: the definition of what `coded_maxsim` scores."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.coded_maxsim.reference import unpack
from retrieval.types import FloatArray, IntArray

__all__ = [
    "LARGEST",
    "Around",
    "bucket_codes",
    "bucket_values",
    "inverse_norms",
    "part_starts",
    "product_codes",
    "product_values",
]

LARGEST = 256.0
"""Of inverse norms."""


class Around(NamedTuple):
    """What decoded residuals are added to: rows ``ordinals`` ``(n,)`` of ``centroids`` ``(K, d)``. The sums
    are multiplied with ``inv_norms`` ``(n,)`` float16 or float32."""

    centroids: FloatArray
    ordinals: NDArray[Any]
    inv_norms: NDArray[Any]


def part_starts(dim: int, m: int) -> IntArray:
    """``(m + 1,)``: part ``p`` of a product quantiser has the dimensions ``starts[p]:starts[p + 1]``."""
    return np.arange(m + 1) * dim // m


def product_codes(residuals: FloatArray, codebooks: FloatArray) -> NDArray[np.uint8]:
    """The nearest codewords (l2; of equal ones the first) of the parts of ``residuals`` ``(n, d)``.

    ``codebooks`` is ``(m, ksub, dsub)``, ksub 16 or 256; codewords of parts shorter than dsub end in zeros.
    Returns ``(n, m)`` uint8, for 16 ``(n, ceil(m / 2))``, the first of two in the low half.
    """
    m, ksub, _ = codebooks.shape
    numbers = np.zeros((len(residuals), m + m % 2), np.uint8)
    for part, (first, last) in enumerate(pairwise(part_starts(residuals.shape[1], m))):
        words = codebooks[part, :, : last - first].astype(np.float64)
        products = residuals[:, first:last].astype(np.float64) @ words.T - (words**2).sum(axis=1) / 2
        numbers[:, part] = products.argmax(axis=1)
    return numbers[:, :m] if ksub == 256 else numbers[:, ::2] | numbers[:, 1::2] << np.uint8(4)


def product_values(
    codes: NDArray[np.uint8], codebooks: FloatArray, dim: int, around: Around | None = None
) -> FloatArray:
    """The codewords that codes name, ``(n, dim)`` float32, or the tokens ``around`` centroids."""
    m, ksub, _ = codebooks.shape
    numbers = unpack(codes, ksub.bit_length() - 1, m)
    sizes = np.diff(part_starts(dim, m))
    parts = [codebooks[part, numbers[:, part], :size] for part, size in enumerate(sizes)]
    return _moved(np.concatenate(parts, axis=1).astype(np.float32), around)


def bucket_codes(residuals: FloatArray, edges: FloatArray, bits: int) -> NDArray[np.uint8]:
    """How many of its dimension's ``edges`` ``(at most 2**bits - 1, d)`` each number of ``(n, d)``
    is above. Returns ``(n, ceil(d * bits / 8))`` uint8, the first dimension lowest."""
    n, dim = residuals.shape
    levels = (residuals[:, None, :] > edges).sum(axis=1).astype(np.uint8)
    pieces = 8 // bits
    levels = np.pad(levels, ((0, 0), (0, -dim % pieces))).reshape(n, -(-dim // pieces), pieces)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(levels << np.arange(0, 8, bits, dtype=np.uint8), axis=2)
    return packed


def bucket_values(
    codes: NDArray[np.uint8], buckets: FloatArray, bits: int, around: Around | None = None
) -> FloatArray:
    """The entries of ``buckets`` ``(d, 2**bits)`` that codes name, ``(n, d)`` float32, or the tokens
    ``around`` centroids."""
    dim = len(buckets)
    return _moved(buckets[np.arange(dim), unpack(codes, bits, dim)], around)


def _moved(residuals: FloatArray, around: Around | None) -> FloatArray:
    if around is None:
        return residuals
    moved: FloatArray = around.centroids[around.ordinals] + residuals
    return moved * around.inv_norms.astype(np.float32)[:, None]


def inverse_norms(
    values: FloatArray, centroids: FloatArray, ordinals: IntArray, residuals: FloatArray
) -> FloatArray:
    """What makes coded tokens as long as they were: ``|x| / |c + r|``, ``(n,)`` float32.

    ``values`` and ``residuals`` (decoded) are ``(n, d)``; ``ordinals`` ``(n,)`` name rows of ``centroids``.
    0 where it would be above `LARGEST`: such a code says nothing of the token, and a large number among a
    document's norms would take the fractions from the others (`coded_maxsim`).
    """
    lengths = np.linalg.norm(values.astype(np.float64), axis=1)
    coded = np.linalg.norm(centroids[ordinals].astype(np.float64) + residuals, axis=1)
    told = (coded > 0) & (lengths <= coded * LARGEST)
    return np.divide(lengths, coded, out=np.zeros(len(values)), where=told).astype(np.float32)
