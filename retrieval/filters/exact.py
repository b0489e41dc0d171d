"""Numbers compared without rounding, whatever type they are stored in.

Arrow would turn 2**53 + 1 into a float to compare it with floats, and refuses 2.5 for integers. Here a
number that the column's type cannot hold is replaced by what gives the same answer for every value
that it can hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import pyarrow as pa

from retrieval.filters.expression import Scalar

__all__ = ["exact_bounds", "storable"]

Number: TypeAlias = int | float
Bound: TypeAlias = tuple[str, Scalar]
"""One of ``gt``, ``gte``, ``lt``, ``lte``, and its value."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def storable(wanted: Sequence[Scalar], kind: pa.DataType) -> Sequence[Scalar]:
    """Those of the values that the type holds exactly; no value of the type equals the others."""
    if pa.types.is_integer(kind):
        whole = (int(v) for v in cast("Sequence[Number]", wanted) if v == math.floor(v))
        return [number for number in whole if LOWEST <= number <= HIGHEST]
    if pa.types.is_floating(kind):
        floats = [near for v in cast("Sequence[Number]", wanted) if (near := float(v)) == v]
        # Arrow's sets tell the two zeros apart
        return [*floats, 0.0, -0.0] if len(floats) > 1 and 0.0 in floats else floats
    return wanted


def exact_bounds(bounds: Mapping[str, Scalar], kind: pa.DataType) -> list[Bound]:
    """The same range with bounds of the column's type."""
    if pa.types.is_integer(kind):
        return _integers(cast("Mapping[str, Number]", bounds))
    if pa.types.is_floating(kind):
        return [_float(name, bound) for name, bound in cast("Mapping[str, Number]", bounds).items()]
    return list(bounds.items())


def _integers(bounds: Mapping[str, Number]) -> list[Bound]:
    lowest, highest = LOWEST, HIGHEST
    for name, bound in bounds.items():
        if name == "gt":
            lowest = max(lowest, math.floor(bound) + 1)
        elif name == "gte":
            lowest = max(lowest, math.ceil(bound))
        elif name == "lt":
            highest = min(highest, math.ceil(bound) - 1)
        else:
            highest = min(highest, math.floor(bound))
    if lowest > highest:
        return [("lt", LOWEST)]  # true for no integer
    below: list[Bound] = [("gte", lowest)] if lowest > LOWEST else []
    above: list[Bound] = [("lte", highest)] if highest < HIGHEST else []
    return below + above or [("gte", LOWEST)]  # true for every integer, but not for null


def _float(name: str, bound: Number) -> Bound:
    """The bound as a float. Where there is none like it, the next one takes its place: above it the
    numbers greater than the bound begin, below it those that are less end."""
    near = float(bound)
    if near > bound:
        name = {"gt": "gte", "lte": "lt"}.get(name, name)
    elif near < bound:
        name = {"gte": "gt", "lt": "lte"}.get(name, name)
    return name, near
