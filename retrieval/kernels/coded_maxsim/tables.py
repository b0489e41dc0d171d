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

__all__ = [
    "COLUMNS",
    "ByteTables",
    "RowTables",
    "byte_tables",
    "nibble_table",
    "residual_rows",
    "row_error",
    "row_tables",
    "row_unit",
]

COLUMNS = 32
"""Query tokens in a block of columns: a row of a block is one 64-byte vector of int16."""
LARGEST, NOT_FINITE, TINY = 32767, 0x7F800000, 1e-30
_WITHOUT_SIGN = np.int32(0x7FFFFFFF)


@dataclass(frozen=True)
class RowTables:
    """Rows of int16, all in one ``unit``, in blocks of 32 query tokens (missing ones are 0).

    ``centroid`` is ``(blocks, K, 32)`` and ``residual`` ``(blocks, bytes, 256, 32)``: what each value
    of each byte of a code adds, whether it holds one codeword or two. No sum of a centroid's row and
    one row a byte leaves int16. ``error`` bounds what rounding does to a document's score, for a
    largest absolute inverse norm of 1.
    """

    centroid: NDArray[np.int16]
    residual: NDArray[np.int16]
    unit: float
    error: float


@dataclass(frozen=True)
class ByteTables:
    """A query of int8 and codebooks of uint8, for the kernel that multiplies bytes.

    ``codebooks`` is ``(4 // bits, 16)``: what a nibble means for its first, second, ... dimension.
    ``query`` has a plane for each dimension of a byte, as `retrieval.kernels.maxsim.packing.pack`
    packs them side by side, each padded to whole steps.
    An inner product is ``(start[q] + sum) * units[q]``. ``error`` is as in `RowTables`.
    """

    query: NDArray[np.int8]
    codebooks: NDArray[np.uint8]
    start: NDArray[np.int32]
    units: NDArray[np.float32]
    error: float


def row_tables(centroid_scores: NDArray[np.float32], residual_table: NDArray[np.float32]) -> RowTables:
    """Round ``(K, n_q)`` and ``(m, codes, n_q)`` scores to int16 rows, two subspaces of 16 codes a row.

    Adding one row a byte instead of one a nibble is worth tables of the second-level cache's size:
    what bounds the kernel is how many rows it finds and loads, not where they lie.

    The unit is the smallest with which no sum can leave int16; a sum of b + 1 rounded numbers (b
    bytes) is off by (b + 1) / 2 units at most, and the kernel's product with a norm of 15 bits by
    another two.

    Raises:
        ValueError: a score that is not a finite number.
    """
    scores = np.ascontiguousarray(centroid_scores)
    unit = row_unit(_largest(scores, 1), residual_table)
    n_q = scores.shape[1]
    centroid = aligned((-(-n_q // COLUMNS), len(scores), COLUMNS), np.int16)
    _round_rows(scores, np.float32(1 / unit), centroid)
    return RowTables(centroid, residual_rows(residual_table, unit), unit, row_error(residual_table, unit))


def row_unit(bounds: NDArray[np.float64], residual_table: NDArray[np.float32]) -> float:
    """The unit of `row_tables`, where a query token's scores of centroids lie within ``bounds`` ``(n_q,)``.

    Raises:
        ValueError: a number of the table that is not finite.
    """
    m, n_codes, n_q = residual_table.shape
    flat = np.ascontiguousarray(residual_table).reshape(m * n_codes, n_q)
    top = float((bounds + _largest(flat, m)).max(initial=0.0))
    return top / (LARGEST - _row_count(residual_table) / 2 - 1) if top > TINY else 1.0


def row_error(residual_table: NDArray[np.float32], unit: float) -> float:
    """What rounding to ``unit`` does to a document's score at most; see `row_tables`."""
    return residual_table.shape[2] * unit * ((_row_count(residual_table) + 1) / 2 + 2)


def residual_rows(residual_table: NDArray[np.float32], unit: float) -> NDArray[np.int16]:
    """``(m, codes, n_q)`` scores in a unit, ``(blocks, bytes, 256, 32)``: half of `RowTables`."""
    m, n_codes, n_q = residual_table.shape
    flat = np.ascontiguousarray(residual_table).reshape(m * n_codes, n_q)
    residual = aligned((-(-n_q // COLUMNS), _row_count(residual_table), 256, COLUMNS), np.int16)
    if n_codes == 256:
        _round_rows(flat, np.float32(1 / unit), residual.reshape(len(residual), -1, COLUMNS))
    else:
        _round_pairs(flat, np.float32(1 / unit), residual)
    return residual


def _row_count(residual_table: NDArray[np.float32]) -> int:
    """Rows that a token adds: bytes of its code."""
    m, n_codes, _ = residual_table.shape
    return m if n_codes == 256 else -(-m // 2)


def _largest(values: NDArray[np.float32], groups: int) -> NDArray[np.float64]:
    """``(rows, n_q)`` -> ``(n_q,)``: the largest absolute value of each run of rows, added up."""
    # Floats without their sign are in the order of their bits, in which NaN is the largest.
    bits = np.zeros((groups, values.shape[1]), dtype=np.int32)
    _largest_bits(values.view(np.int32), bits)
    if bits.max(initial=0) >= NOT_FINITE:
        raise ValueError("scores of centroids and residuals must be finite numbers")
    return bits.view(np.float32).sum(axis=0, dtype=np.float64)


@njit(nogil=True, cache=True, error_model="numpy")
def _largest_bits(values, largest):  # type: ignore[no-untyped-def]
    """Four rows at a time: what is known so far is then read and written a quarter as often."""
    per_group = values.shape[0] // max(largest.shape[0], 1)
    for group in range(largest.shape[0]):
        first, last = group * per_group, (group + 1) * per_group
        for row in range(first, last - 3, 4):
            for q in range(values.shape[1]):
                a = max(values[row, q] & _WITHOUT_SIGN, values[row + 1, q] & _WITHOUT_SIGN)
                b = max(values[row + 2, q] & _WITHOUT_SIGN, values[row + 3, q] & _WITHOUT_SIGN)
                largest[group, q] = max(largest[group, q], a, b)
        for row in range(last - per_group % 4, last):
            for q in range(values.shape[1]):
                largest[group, q] = max(largest[group, q], values[row, q] & _WITHOUT_SIGN)


@njit(nogil=True, cache=True, error_model="numpy")
def _round_rows(values, scale, rows):  # type: ignore[no-untyped-def]
    for block in range(rows.shape[0]):
        first = block * COLUMNS
        width = min(COLUMNS, values.shape[1] - first)
        for r in range(values.shape[0]):
            for q in range(width):
                rows[block, r, q] = np.int16(np.rint(values[r, first + q] * scale))
            for q in range(width, COLUMNS):
                rows[block, r, q] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _round_pairs(values, scale, rows):  # type: ignore[no-untyped-def]
    """Sums of two codewords; ``values`` has 16 rows a subspace. A second one may be missing."""
    low, high = np.zeros((16, COLUMNS), np.float32), np.zeros((16, COLUMNS), np.float32)
    for block in range(rows.shape[0]):
        first = block * COLUMNS
        width = min(COLUMNS, values.shape[1] - first)
        low[:], high[:] = 0, 0
        for byte in range(rows.shape[1]):
            at = 32 * byte
            missing = at + 16 == values.shape[0]
            for c in range(16):
                for q in range(width):
                    low[c, q] = values[at + c, first + q] * scale
                    high[c, q] = 0 if missing else values[at + 16 + c, first + q] * scale
            for code in range(256):
                # As wide as the array says: loops of a written length LLVM unrolls and then
                # does not vectorise.
                for q in range(rows.shape[3]):
                    rows[block, byte, code, q] = np.int16(np.rint(low[code & 15, q] + high[code >> 4, q]))


def nibble_table(query: NDArray[np.float32], buckets: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Codes of a few bits a dimension as a product quantiser of 4 bits: ``(ceil(d * bits / 4), 16, n_q)``.

    A nibble holds the codes of ``4 // bits`` dimensions, and its table entry their inner products.
    """
    n_q, d = query.shape
    per = 4 // bits
    table = np.zeros((-(-d // per), 16, n_q), dtype=np.float32)
    each = np.ascontiguousarray(np.broadcast_to(buckets, (d, 2**bits)), dtype=np.float32)
    _add_products(np.ascontiguousarray(query.T), each, bits, table)
    return table


@njit(nogil=True, cache=True, error_model="numpy")
def _add_products(columns, buckets, bits, table):  # type: ignore[no-untyped-def]
    per = 4 // bits
    for dim in range(columns.shape[0]):
        shift = dim % per * bits
        for nibble in range(16):
            bucket = buckets[dim, (nibble >> shift) & (2**bits - 1)]
            for q in range(columns.shape[1]):
                table[dim // per, nibble, q] += columns[dim, q] * bucket


def byte_tables(query: NDArray[np.float32], buckets: NDArray[np.float32], bits: int) -> ByteTables:
    """Round a query ``(n_q, d)`` and the codebook all dimensions share to bytes, for 2 or 4 bits.

    Raises:
        ValueError: a number that is not finite.
    """
    n_q, d = query.shape
    planes, n_bytes = 8 // bits, -(-d * bits // 8)
    code_unit = float(np.abs(buckets).max()) / 127 or 1.0
    width = -(-n_bytes // 4) * 4
    rounded = np.zeros((n_q, planes * width), dtype=np.int8)
    lanes = -(-n_q // LANES) * LANES
    start, units = np.zeros(lanes, dtype=np.int32), np.zeros(lanes, dtype=np.float32)
    query = np.ascontiguousarray(query)
    size, rough = _round_query(query, query.view(np.int32), planes, rounded, start, units)
    if not np.isfinite(size * code_unit):
        raise ValueError("query and buckets must be finite numbers")
    nibbles = np.arange(16)
    levels = (np.rint(buckets / code_unit) + 128).astype(np.uint8)
    codebooks = levels[(nibbles >> (bits * np.arange(4 // bits)[:, None])) % 2**bits]
    # |q c - q' c'| <= |q| |c - c'| + |c'| |q - q'|, with half a unit for each difference.
    error = size * code_unit / 2 + d * code_unit * 127.5 * rough / 2
    return ByteTables(pack(rounded), codebooks, start, units * np.float32(code_unit), error)


@njit(nogil=True, error_model="numpy", fastmath={"reassoc"}, _nrt=False)
def _sum_of_absolutes(query, q):  # type: ignore[no-untyped-def]
    total = 0.0
    for dim in range(query.shape[1]):
        total += abs(np.float64(query[q, dim]))
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _round_query(query, patterns, planes, rounded, start, units):  # type: ignore[no-untyped-def]
    """Each query token in its own unit, dimensions sorted by plane; ``patterns``: the query's bits.

    Returns the sum of all absolute values (NaN or infinite if one is) and that of all units.
    """
    size, rough, width = 0.0, 0.0, rounded.shape[1] // planes
    for q in range(query.shape[0]):
        size += _sum_of_absolutes(query, q)
        largest = np.int32(0)
        for dim in range(query.shape[1]):
            largest = max(largest, patterns[q, dim] & _WITHOUT_SIGN)
        top = np.int32(largest).view(np.float32)
        # Of numbers without a reciprocal nothing is lost when they are taken for zeros.
        scale, unit = (
            (np.float32(127) / top, top / np.float32(127)) if top > TINY else (np.float32(0), np.float32(1))
        )
        total = np.int32(0)
        for plane in range(planes):
            for i in range((query.shape[1] - plane + planes - 1) // planes):
                number = np.int32(np.rint(query[q, planes * i + plane] * scale))
                rounded[q, plane * width + i] = number
                total += number
        start[q], units[q] = -128 * total, unit
        rough += np.float64(unit)
    return size, rough
