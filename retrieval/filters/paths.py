"""From a field's name in a filter to a column and the members inside it.

``place.city`` is the member ``city`` of the field ``place``. Lists are looked into without a sign. Names
may hold dots themselves: the longest name that exists wins at every level, so a field that is named
``place.city`` hides the member.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrieval.errors import FilterError
from retrieval.filters.expression import shown
from retrieval.types import IntArray

__all__ = ["Leaf", "leaves", "resolve"]

MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where values lie: the field, then its members, and the type of one value (no list)."""

    path: tuple[str, ...]
    kind: pa.DataType


def resolve(name: str, fields: Mapping[str, pa.DataType]) -> Leaf:
    """What ``name`` means in an index with these fields.

    Raises:
        FilterError: no such field; it names those that look like it, or those that there are.
    """
    if leaf := _find(name, fields):
        return leaf
    known = list(_names(fields))
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        raise FilterError(f"unknown field {shown(name)}; did you mean {' or '.join(map(repr, close))}?")
    if not known:
        raise FilterError(f"unknown field {shown(name)}; this index has no metadata fields")
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    raise FilterError(f"unknown field {shown(name)}; there are: {', '.join(known[:MAX_NAMED])}{more}")


def leaves(column: pa.Array, path: tuple[str, ...]) -> tuple[pa.Array, IntArray | None]:
    """The values at ``path`` (members only, without the field) in a column.

    Returns the values and for each of them its row, ascending; None for the rows where each row has
    exactly one value, which may be null. A column that lacks the member has nulls.
    """
    rows: IntArray | None = None
    while True:
        if pa.types.is_list(column.type):
            parents = _parents(column)
            rows = parents if rows is None else rows[parents]
            column = column.flatten()
        elif not path:
            return column, rows
        else:
            column, path = _member(column, path[0]), path[1:]


def _find(name: str, fields: Mapping[str, pa.DataType]) -> Leaf | None:
    if name in fields:
        return Leaf((name,), _inside_lists(fields[name]))
    # No further than names go: one of a megabyte of dots would be cut in a million places, each a copy.
    longest = max(map(len, fields), default=0)
    dots = [i for i, character in enumerate(name[: longest + 1]) if character == "."]
    for dot in reversed(dots):
        head, rest = name[:dot], name[dot + 1 :]
        if head in fields and (inner := _find(rest, _members(fields[head]))):
            return Leaf((head, *inner.path), inner.kind)
    return None


def _names(fields: Mapping[str, pa.DataType], prefix: str = "") -> Iterator[str]:
    for name, kind in fields.items():
        yield prefix + name
        yield from _names(_members(kind), f"{prefix}{name}.")


def _members(kind: pa.DataType) -> dict[str, pa.DataType]:
    kind = _inside_lists(kind)
    return {member.name: member.type for member in kind} if pa.types.is_struct(kind) else {}


def _inside_lists(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind):
        kind = kind.value_type
    return kind


def _member(column: pa.Array, name: str) -> pa.Array:
    position = column.type.get_field_index(name) if pa.types.is_struct(column.type) else -1
    # struct_field makes a member null where the object is; by number, as a name may hold dots
    return pa.nulls(len(column)) if position < 0 else pc.struct_field(column, [position])


def _parents(column: pa.ListArray) -> IntArray:
    """The list of each flattened element, as a row."""
    parents: IntArray = pc.list_parent_indices(column).to_numpy()
    if column.null_count:  # elements under a null list are counted there, but flatten leaves them out
        parents = parents[np.asarray(column.is_valid())[parents]]
    return parents
