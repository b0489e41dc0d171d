"""What the fast kernels look up: scores as int16 rows, or a query and a codebook as bytes.

Everything is made once for a query and serves any number of documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.centroid_maxsim.tables import aligned
from retrieval.kernels.maxsim.packing import LANES, pack

__all__ = ["COLUMNS", "ByteTables", "RowTables", "byte_tables", "nibble_table", "row_tables"]

COLUMNS = 32
"""Query tokens in a block of columns: a row of a block is one 64-byte vector of int16."""
LARGEST, NOT_FINITE, TINY = 32767, 0x7F800000, 1e-30


@dataclass(frozen=True)
class RowTables:
    """Rows of int16, all in one ``unit``, in blocks of 32 query tokens (missing ones are 0).

    ``centroid`` is ``(blocks, K, 32)`` and ``residual`` ``(blocks, subspaces, codes, 32)``. No sum of
    a centroid's row and one row a subspace leaves int16. ``error`` bounds what rounding does to a
    document's score, for a largest absolute inverse norm of 1.
    """

    centroid: NDArray[np.int16]
    residual: NDArray[np.int16]
    unit: float
    error: float


@dataclass(frozen=True)
class ByteTables:
    """A query of int8 and codebooks of uint8, for the kernel that multiplies bytes.

    ``codebooks`` is ``(4 // bits, 16)``: what a nibble means for its first, second, ... dimension. For
    each of them, ``query`` holds those dimensions, as `retrieval.kernels.maxsim.packing.pack` packs.
    An inner product is ``(sum - correction[q]) * units[q]``. ``error`` is as in `RowTables`.
    """

    query: NDArray[np.int8]
    codebooks: NDArray[np.uint8]
    correction: NDArray[np.int32]
    units: NDArray[np.float32]
    error: float


def row_tables(centroid_scores: NDArray[np.float32], residual_table: NDArray[np.float32]) -> RowTables:
    """Round ``(K, n_q)`` and ``(m, codes, n_q)`` scores to int16 rows.

    The unit is the smallest with which no sum can leave int16; a sum of m + 1 rounded numbers is off
    by (m + 1) / 2 units at most, and the kernel's product with a norm of 15 bits by another two.

    Raises:
        ValueError: a score that is not a finite number.
    """
    m, n_codes, n_q = residual_table.shape
    n_centroids = len(centroid_scores)
    flat = np.ascontiguousarray(residual_table).reshape(m * n_codes, n_q)
    bound = _largest(centroid_scores, 1).sum(axis=0) + _largest(flat, m).sum(axis=0)
    top = float(bound.max(initial=0.0))
    unit = top / (LARGEST - m / 2 - 1) if top > TINY else 1.0
    blocks = -(-n_q // COLUMNS)
    centroid = aligned((blocks, n_centroids, COLUMNS), np.int16)
    residual = aligned((blocks, m + m % 2, n_codes, COLUMNS), np.int16)
    residual[:, m:] = 0  # the second half of a last byte that holds one code
    scale = np.float32(1 / unit)
    _round_rows(np.ascontiguousarray(centroid_scores), scale, centroid)
    _round_rows(flat, scale, residual.reshape(blocks, -1, COLUMNS))
    return RowTables(centroid, residual, unit, n_q * unit * ((m + 1) / 2 + 2))


def _largest(values: NDArray[np.float32], groups: int) -> NDArray[np.float64]:
    """``(rows, n_q)`` -> ``(groups, n_q)``: the largest absolute value of each run of rows."""
    # Floats without their sign are in the order of their bits, in which NaN is the largest.
    bits = np.zeros((groups, values.shape[1]), dtype=np.int32)
    _largest_bits(np.ascontiguousarray(values).view(np.int32), bits)
    if bits.max(initial=0) >= NOT_FINITE:
        raise ValueError("scores of centroids and residuals must be finite numbers")
    return bits.view(np.float32).astype(np.float64)


@njit(nogil=True, cache=True, error_model="numpy")
def _largest_bits(values, largest):  # type: ignore[no-untyped-def]
    per_group = values.shape[0] // max(largest.shape[0], 1)
    for group in range(largest.shape[0]):
        for row in range(group * per_group, (group + 1) * per_group):
            for q in range(values.shape[1]):
                largest[group, q] = max(largest[group, q], values[row, q] & np.int32(0x7FFFFFFF))


@njit(nogil=True, cache=True, error_model="numpy")
def _round_rows(values, scale, rows):  # type: ignore[no-untyped-def]
    for block in range(rows.shape[0]):
        first = block * 32
        width = min(32, values.shape[1] - first)
        for r in range(values.shape[0]):
            for q in range(width):
                rows[block, r, q] = np.int16(np.rint(values[r, first + q] * scale))
            for q in range(width, 32):
                rows[block, r, q] = 0


def nibble_table(query: NDArray[np.float32], buckets: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Codes of a few bits a dimension as a product quantiser of 4 bits: ``(ceil(d * bits / 4), 16, n_q)``.

    A nibble holds the codes of ``4 // bits`` dimensions, and its table entry their inner products.
    """
    n_q, d = query.shape
    per = 4 // bits
    m = -(-d // per)
    each = np.zeros((m * per, 2**bits), dtype=np.float32)
    each[:d] = buckets
    values = np.zeros((m * per, n_q), dtype=np.float32)
    values[:d] = query.T
    products = (each[:, :, None] * values[:, None, :]).reshape(m, per, 2**bits, n_q)
    nibbles = np.arange(16)
    table = products[:, 0, nibbles % 2**bits]
    for i in range(1, per):
        table = table + products[:, i, (nibbles >> (i * bits)) % 2**bits]
    return np.ascontiguousarray(table)


def byte_tables(query: NDArray[np.float32], buckets: NDArray[np.float32], bits: int) -> ByteTables:
    """Round a query ``(n_q, d)`` and the codebook all dimensions share to bytes, for 2 or 4 bits.

    Raises:
        ValueError: a number that is not finite.
    """
    if not (np.isfinite(query).all() and np.isfinite(buckets).all()):
        raise ValueError("query and buckets must be finite numbers")
    n_q, d = query.shape
    per, n_bytes = 4 // bits, -(-d * bits // 8)
    code_unit = float(np.abs(buckets).max()) / 127 or 1.0
    # One unit a query token; of all zeros any will do.
    units = np.abs(query).max(axis=1, initial=0).astype(np.float64) / 127
    units[units == 0] = 1.0
    rounded = np.rint(query / units[:, None]).astype(np.int8)
    nibbles = np.arange(16)
    levels = np.rint(buckets / code_unit).astype(np.int64) + 128
    codebooks = np.stack([levels[(nibbles >> (i * bits)) % 2**bits] for i in range(per)]).astype(np.uint8)
    planes = np.zeros((per, n_q, 2 * n_bytes), dtype=np.int8)
    for i in range(per):
        columns = rounded[:, i::per]
        planes[i, :, : columns.shape[1]] = columns
    packed = [pack(plane) for plane in planes]
    ordered = aligned((per * len(packed[0]),), np.int8)
    np.concatenate(packed, out=ordered)
    lanes = -(-n_q // LANES) * LANES
    correction, scaled = np.zeros(lanes, dtype=np.int32), np.zeros(lanes, dtype=np.float32)
    correction[:n_q] = 128 * rounded.sum(axis=1, dtype=np.int32)
    scaled[:n_q] = units * code_unit
    # |q c - q' c'| <= |q| |c - c'| + |c'| |q - q'|, with half a unit for each difference.
    error = np.abs(query).sum(dtype=np.float64) * code_unit / 2 + d * code_unit * 127.5 * units.sum() / 2
    return ByteTables(ordered, codebooks, correction, scaled, float(error))
