"""Products of bytes by AMX: a thread has eight tiles of 16 rows of 64 bytes.

Four are sums, two tokens, two a query: the sums of 32 tokens with 32 query tokens are made at a time. A
kernel begins with `start_tiles` and ends with `end_tiles`, and between them clears the sums, multiplies and
stores as often as it likes. `retrieval.kernels.host.has_tiles` says whether there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = [
    "ROWS",
    "clear_tiles",
    "configure",
    "end_tiles",
    "multiply_tiles",
    "start_tiles",
    "store_tiles",
    "tile_width",
]

ROWS = 16
"""Tokens of a tile, and query tokens of one."""
WIDEST, NARROWEST = 64, 32
"""Bytes of a row at most; with fewer than the other, a tile would be mostly empty."""
_SUMS, _TOKENS, _QUERY = (0, 1, 2, 3), (4, 5), (6, 7)
_BYTE, _INT64 = ir.IntType(8), ir.IntType(64)


def tile_width(stride: int) -> int:
    """How many bytes of tokens of ``stride`` bytes a tile takes at a time; 0 where none divides them."""
    widths = range(NARROWEST, WIDEST + 1, 4)
    return max((width for width in widths if stride % width == 0), default=0)


def configure(width: int) -> NDArray[np.uint8]:
    """What `start_tiles` loads, for rows of ``width`` bytes of a token. A row of the query has four bytes of
    each of 16 tokens, one of the sums an int32 for each."""
    config = np.zeros(64, np.uint8)
    config[0] = 1  # the only layout there is
    widths, rows = config[16:48].view(np.uint16), config[48:]
    widths[:8], rows[:8] = WIDEST, ROWS
    widths[list(_TOKENS)] = width
    rows[list(_QUERY)] = width // 4
    return config


def _call(builder: Any, name: str, args: Sequence[Any]) -> None:
    kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), args)


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, _BYTE.as_pointer())


def _move(builder: Any, name: str, tiles: Sequence[int], places: Sequence[Any], stride: Any) -> None:
    """Load or store tiles at places of memory, rows ``stride`` apart."""
    for tile, place in zip(tiles, places, strict=True):
        _call(builder, name, [_BYTE(tile), place, stride])


def _numbers(context: Any, builder: Any, signature: Any, args: Any, at: Sequence[int]) -> list[Any]:
    """Arguments as int64."""
    return [context.cast(builder, args[i], signature.args[i], types.int64) for i in at]


@intrinsic
def start_tiles(_context: Any, config: Any) -> Any:
    """Lay the tiles out as `configure` says."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _call(builder, "ldtilecfg", [_data(context, builder, signature.args[0], args[0])])
        return context.get_dummy_value()

    return types.void(config), generate


@intrinsic
def end_tiles(_context: Any) -> Any:
    """Give the tiles back, so that the system need not save them."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        _call(builder, "tilerelease", [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def clear_tiles(_context: Any) -> Any:
    """All sums are 0."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        for tile in _SUMS:
            _call(builder, "tilezero", [_BYTE(tile)])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def multiply_tiles(
    _context: Any,
    octets: Any,
    first: Any,
    second: Any,
    stride: Any,
    packed: Any,
    query: Any,
    other: Any,
    across: Any,
) -> Any:
    """Add the products of 32 tokens' unsigned bytes with a query's signed ones to the sums.

    Sixteen tokens begin at byte ``first`` of ``octets`` and sixteen at ``second``, ``stride`` apart;
    sixteen query tokens at byte ``query`` of ``packed`` and sixteen at ``other``, rows of four bytes of each
    ``across``.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        tokens = _data(context, builder, signature.args[0], args[0])
        asked = _data(context, builder, signature.args[4], args[4])
        a, b, stride, q, r, across = _numbers(context, builder, signature, args, (1, 2, 3, 5, 6, 7))
        _move(builder, "tileloadd64", _TOKENS, [builder.gep(tokens, [at]) for at in (a, b)], stride)
        _move(builder, "tileloadd64", _QUERY, [builder.gep(asked, [at]) for at in (q, r)], across)
        for tile in _SUMS:
            _call(builder, "tdpbusd", [_BYTE(tile), _BYTE(_TOKENS[tile // 2]), _BYTE(_QUERY[tile % 2])])
        return context.get_dummy_value()

    return types.void(octets, first, second, stride, packed, query, other, across), generate


@intrinsic
def store_tiles(_context: Any, sums: Any, first: Any, second: Any, apart: Any, stride: Any) -> Any:
    """Write the sums to int32 ``sums``: those of the first 16 tokens with the first 16 query tokens from
    element ``first`` on, with the others ``apart`` from there; of the other 16 tokens from ``second`` on.
    Rows, one a token, are ``stride`` elements apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[0], args[0])
        numbers = _numbers(context, builder, signature, args, (1, 2, 3, 4))
        first, second, apart, stride = (builder.mul(number, _INT64(4)) for number in numbers)
        starts = [first, builder.add(first, apart), second, builder.add(second, apart)]
        _move(builder, "tilestored64", _SUMS, [builder.gep(data, [at]) for at in starts], stride)
        return context.get_dummy_value()

    return types.void(sums, first, second, apart, stride), generate
