"""One condition on one array of values: Arrow compute, and no rounding of what is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retrieval.filters.exact import exact_bounds, storable
from retrieval.filters.expression import AnyOf, Exists, Match, Prefix, Range, Scalar

__all__ = ["Mask", "as_mask", "holds", "is_any"]

Mask = NDArray[np.bool_]


def holds(condition: Match | AnyOf | Range | Exists | Prefix, values: pa.Array) -> Mask:
    """For which of the values the condition holds, ``(len(values),)``; never for nulls.

    The values may be of a narrower type than the condition was checked for: integers where the
    index has floats, or all null.
    """
    if pa.types.is_null(values.type):
        return np.zeros(len(values), dtype=np.bool_)
    match condition:
        case Match(_, value):
            return is_any(values, (value,))
        case AnyOf(_, wanted):
            return is_any(values, wanted)
        case Range():
            return _in_range(values, condition)
        case Exists():
            return as_mask(pc.is_valid(values))
        case Prefix(_, prefix):
            return as_mask(pc.starts_with(values, prefix))


def is_any(values: pa.Array, wanted: Sequence[Scalar]) -> Mask:
    """Which of the values equal one of ``wanted``."""
    found = pa.array(storable(wanted, values.type), values.type)
    if len(found) == 0:
        return np.zeros(len(values), dtype=np.bool_)
    if len(found) == 1:
        return as_mask(pc.equal(values, found[0]))
    return as_mask(pc.is_in(values, value_set=found))


def _in_range(values: pa.Array, given: Range) -> Mask:
    accept = np.ones(len(values), dtype=np.bool_)
    for name, bound in exact_bounds(given.bounds(), values.type):
        accept &= as_mask(_COMPARE[name](values, pa.scalar(bound, values.type)))
    return accept


_COMPARE: Mapping[str, Callable[..., pa.BooleanArray]] = {
    "gt": pc.greater,
    "gte": pc.greater_equal,
    "lt": pc.less,
    "lte": pc.less_equal,
}


def as_mask(found: pa.BooleanArray) -> Mask:
    """Arrow's bits as NumPy's bytes, nulls as False; ten times as fast as ``to_numpy``."""
    if len(found) == 0:
        return np.zeros(0, dtype=np.bool_)
    bits = pc.fill_null(found, False) if found.null_count else found
    start = bits.offset % 8
    packed = np.frombuffer(bits.buffers()[1], dtype=np.uint8)[bits.offset // 8 :]
    unpacked = np.unpackbits(packed, count=start + len(bits), bitorder="little")
    return unpacked[start:].view(np.bool_)
