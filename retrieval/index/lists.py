"""Codes of a segment as they are stored and scanned: in list order, packed where they are 4-bit pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.index.base import Arrays, Block, Found
from retrieval.index.best import best_of, nothing
from retrieval.index.blocks import in_blocks
from retrieval.index.checking import take
from retrieval.kernels.arrays import plain
from retrieval.kernels.blocks import over_blocks
from retrieval.kernels.lists.cpu import scan_lists
from retrieval.kernels.lists.prepared import Lists, prepare_lists
from retrieval.kernels.pq_scan.reference import BLOCK, pack_codes
from retrieval.kernels.sharpen.cpu import Sharpened, sharpen
from retrieval.kernels.sharpen.prepared import PackedRows, prepare_packed_rows
from retrieval.quantize.base import Factors, SearchCodec, TableCodec
from retrieval.quantize.bits import BitsCodec, NestedBitsCodec
from retrieval.types import FloatArray, IntArray

__all__ = ["Coded", "encode_blocks", "found_whole", "load_codes", "scan", "store_codes", "table_codec"]

ROWS = 8192
LEAST_ROWS, BLOCK_BYTES = 256, 32 << 20
"""Vectors that a thread codes at once: fewer where they are long, as folds are."""
"""Documents encoded together; whole blocks of packed codes."""
WIDEN = 4
"""Times as many candidates as are asked for whose whole codes are read, where fewer bits are scanned. Of
200,000 documents of 384 dimensions (4 bits after 1, recall 0.98 and 0.99 at 10, 0.95 to 0.98 at 100), 3 and 6
cost between 5 % less and 10 % more time, for the same stored vectors."""


class Coded(NamedTuple):
    """A segment's codes, all in list order. ``lists`` are packed codes, or None, and then ``rows``
    ``(n, width)`` are the codes. ``starts`` ``(nlist + 1,)``; ``ordinals``, ``errors``, ``biases`` ``(n,)``
    or None: a position is its document, errors are unknown, there are none. ``whole``: all bits of codes
    of which ``lists`` are the first ones, None where those are all."""

    lists: Lists | None
    rows: NDArray[Any] | None
    starts: IntArray
    ordinals: NDArray[np.uint32] | None
    errors: FloatArray | None
    biases: FloatArray | None
    whole: PackedRows | None = None


def table_codec(codec: SearchCodec) -> TableCodec | None:
    """The codec if its codes are pieces of 4 bits."""
    return codec if isinstance(codec, TableCodec) else None


def encode_blocks(
    codec: SearchCodec,
    blocks: Iterator[Block],
    n: int,
    dim: int,
    center: Callable[[FloatArray, slice], FloatArray],
    threads: int,
) -> tuple[NDArray[Any], FloatArray | None]:
    """Codes ``(n, width)`` and biases of a segment, of which only these are held.

    ``center`` says what is coded of the documents in a slice of the segment.
    """
    codes, biases = np.empty((n, codec.width(dim)), codec.dtype), np.empty(n, np.float32)
    has_biases = False
    rows = min(ROWS, max(LEAST_ROWS, BLOCK_BYTES // (4 * max(dim, 1))))
    for first, block in in_blocks(blocks, rows * threads, n, dim):

        def encode(start: int, stop: int, first: int = first, block: Block = block) -> None:
            where = slice(first + start, first + stop)
            codes[where] = codec.encode(center(plain(block.values[start:stop]), where))

        over_blocks(encode, len(block.values), rows, threads)
        if block.biases is not None:
            biases[first : first + len(block.values)], has_biases = block.biases, True
    return codes, biases if has_biases else None


def store_codes(
    codec: SearchCodec, codes: NDArray[Any], biases: FloatArray | None, order: IntArray | None
) -> dict[str, NDArray[Any]]:
    """Codes ``(n, width)`` and biases as arrays in ``order`` (None: as they are)."""
    arrays: dict[str, NDArray[Any]] = {}
    if biases is not None:
        arrays["biases"] = biases if order is None else biases[order]
    table = table_codec(codec)
    if table is None:
        return {"rows": codes if order is None else codes[order], **arrays}
    n, one = len(codes), np.zeros((1, codes.shape[1]), codes.dtype)  # any code tells what there is
    groups = -(-table.nibbles(one).shape[1] // 8)
    arrays["blocks"] = np.empty((-(-n // BLOCK), groups, 2, 64), np.uint8)
    kept = {name: np.empty(n, np.float32) for name in _named(table.factors(one))}
    if isinstance(codec, NestedBitsCodec):
        rows, factors = codec.whole(one)
        arrays["rows"] = np.empty((n, rows.shape[1]), np.uint8)
        arrays["factors"] = np.empty((n, factors.shape[1]), np.float32)
    for first in range(0, n, ROWS):
        last = min(first + ROWS, n)
        part = codes[first:last] if order is None else codes[order[first:last]]
        arrays["blocks"][first // BLOCK : -(-last // BLOCK)] = pack_codes(table.nibbles(part))
        for name, values in _named(table.factors(part)).items():
            kept[name][first:last] = values
        if isinstance(codec, NestedBitsCodec):
            arrays["rows"][first:last], arrays["factors"][first:last] = codec.whole(part)
    return arrays | kept


def _named(factors: Factors) -> dict[str, FloatArray]:
    both = {"scales": factors.scales, "errors": factors.errors}
    return {name: values for name, values in both.items() if values is not None}


def load_codes(
    codec: SearchCodec, dim: int, arrays: Arrays, starts: IntArray, ordinals: NDArray[np.uint32] | None
) -> Coded:
    """The inverse of `store_codes` for lists that begin at ``starts``, already checked.

    Raises:
        IndexDamagedError: an array that is missing or does not fit.
    """
    n = int(starts[-1])
    biases = take(arrays, "biases", np.float32, (n,)) if "biases" in arrays else None
    table = table_codec(codec)
    if table is None:
        rows = take(arrays, "rows", codec.dtype, (n, codec.width(dim)))
        errors = _errors(codec, rows) if isinstance(codec, BitsCodec) else None
        return Coded(None, rows, starts, ordinals, errors, biases)
    one = np.zeros((1, codec.width(dim)), codec.dtype)
    groups = -(-table.nibbles(one).shape[1] // 8)
    blocks = take(arrays, "blocks", np.uint8, (-(-n // BLOCK), groups, 2, 64))
    own = {name: take(arrays, name, np.float32, (n,)) for name in _named(table.factors(one))}
    errors = own.get("errors")
    if errors is not None and n and errors.min() < 0:
        raise IndexDamagedError("the array 'errors' has a negative one; run verify, then repair")
    lists = prepare_lists(blocks, starts, own.get("scales"), biases, ordinals, errors)
    whole = None
    if isinstance(codec, NestedBitsCodec):
        rows = take(arrays, "rows", np.uint8, (n, codec.whole(one)[0].shape[1]))
        factors = take(arrays, "factors", np.float32, (n, 2))
        if n and factors[:, 1].min() < 0:
            raise IndexDamagedError("the array 'factors' has a negative error; run verify, then repair")
        whole = prepare_packed_rows(rows, factors, starts, biases, ordinals, codec.bits, dim)
    return Coded(lists, None, starts, ordinals, errors, biases, whole)


def _errors(codec: BitsCodec, rows: NDArray[Any]) -> FloatArray:
    """Errors of codes of 8 bits, which lie in the codes as their scales do.

    Raises:
        IndexDamagedError: a scale or an error that cannot be one.
    """
    errors = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), ROWS):
        factors = codec.factors(rows[first : first + ROWS])
        if factors.errors is not None:
            errors[first : first + ROWS] = factors.errors
        if factors.scales is not None and not np.isfinite(factors.scales).all():
            raise IndexDamagedError("the array 'rows' has a scale that is NaN or infinite; run verify")
    if not (np.isfinite(errors).all() and errors.min(initial=0) >= 0):
        raise IndexDamagedError("the array 'rows' has an error that cannot be one; run verify")
    return errors


def scan(
    codec: SearchCodec,
    coded: Coded,
    queries: FloatArray,
    lists: IntArray,
    bases: FloatArray,
    depth: int,
    accept: NDArray[np.bool_] | None,
) -> list[Found]:
    """The best ``depth`` documents of each query's ``lists`` ``(n_q, n_probe)`` (-1 for none): by
    ``bases[list] + estimate + bias``, ties by ordinal."""
    depth = min(depth, int(coded.starts[-1]))
    if depth < 1:
        return [nothing() for _ in queries]
    if coded.lists is None:
        both = zip(queries, lists, bases, strict=True)
        return [_scan_rows(codec, coded, *each, depth, accept) for each in both]
    tables = cast(TableCodec, codec).tables(queries)  # else there were no lists
    if coded.whole is not None:
        turned = cast(NestedBitsCodec, codec).turned(queries)
        return _sharpened(coded, coded.whole, tables, turned, lists, bases, depth, accept)
    answer = scan_lists(tables, coded.lists, lists, bases, depth, accept)
    return [_found(coded, *each) for each in zip(*answer, strict=True)]


def _sharpened(
    coded: Coded,
    whole: PackedRows,
    tables: FloatArray,
    turned: FloatArray,
    lists: IntArray,
    bases: FloatArray,
    depth: int,
    accept: NDArray[np.bool_] | None,
) -> list[Found]:
    """`scan` of the first bits, and what all bits say of the best: of ``turned`` queries."""
    several = min(WIDEN * depth, int(coded.starts[-1]))
    _, positions, _, scanned = scan_lists(tables, cast(Lists, coded.lists), lists, bases, several, accept)
    best = sharpen(turned, whole, positions, lists, bases, depth)
    return found_whole(best, scanned)


def found_whole(best: Sharpened, scanned: IntArray) -> list[Found]:
    """An answer of `sharpen` in parts, a query each."""
    return [
        Found(ordinals[:n], estimates[:n], errors[:n], int(seen), ranks[:n])
        for estimates, ordinals, errors, ranks, n, seen in zip(*best, scanned, strict=True)
    ]


def _found(coded: Coded, estimates: FloatArray, positions: IntArray, n: np.int64, scanned: np.int64) -> Found:
    positions = positions[:n]
    ordinals = positions if coded.ordinals is None else coded.ordinals[positions].astype(np.int64)
    errors = None if coded.errors is None else coded.errors[positions]
    return Found(ordinals, estimates[:n], errors, int(scanned))


def _scan_rows(
    codec: SearchCodec,
    coded: Coded,
    query: FloatArray,
    lists: IntArray,
    bases: FloatArray,
    depth: int,
    accept: NDArray[np.bool_] | None,
) -> Found:
    """`scan` for codes without tables, which are gathered."""
    bases, lists = bases[lists >= 0], lists[lists >= 0]
    first = coded.starts[lists]
    sizes = coded.starts[lists + 1] - first
    positions = np.arange(sizes.sum()) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
    ordinals = positions if coded.ordinals is None else coded.ordinals[positions].astype(np.int64)
    added = np.repeat(bases, sizes)
    if coded.biases is not None:
        added = added + coded.biases[positions]
    if accept is not None:
        kept = accept[ordinals]
        positions, ordinals, added = positions[kept], ordinals[kept], added[kept]
    if len(positions) == 0 or coded.rows is None:
        return nothing()
    parts = [positions[i : i + ROWS] for i in range(0, len(positions), ROWS)]
    products = [codec.scores(query[None], coded.rows[part])[0] for part in parts]
    errors = None if coded.errors is None else coded.errors[positions]
    return best_of(added + np.concatenate(products), ordinals, depth, int(sizes.sum()), errors)
