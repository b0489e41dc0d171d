"""How many documents have each value of a field: counted a segment, then added up.

A document counts once for each distinct value that it has, however often its lists repeat it. Null and
NaN are not counted, and -0.0 is 0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrieval.errors import FilterError
from retrieval.filters.compare import Mask
from retrieval.filters.evaluate import Column
from retrieval.filters.expression import shown
from retrieval.filters.paths import Leaf, leaves, resolve
from retrieval.types import IntArray

__all__ = ["ValueCounts", "check_facet", "count_values", "top_counts"]

ValueCounts = tuple[pa.Array, IntArray]
"""Distinct values and the documents that have each."""


def check_facet(field: str, fields: Mapping[str, pa.DataType]) -> Leaf:
    """Where the values to be counted lie, and their type in the index.

    Raises:
        FilterError: an unknown field, or one that holds objects.
    """
    leaf = resolve(field, fields)
    if pa.types.is_struct(leaf.kind):
        members = ", ".join(f"{field}.{member.name}" for member in list(leaf.kind)[:5]) or "none"
        raise FilterError(f"the field {shown(field)} holds objects; name a member to count ({members})")
    return leaf


def count_values(column: Column | None, mask: Mask, members: tuple[str, ...] = ()) -> ValueCounts:
    """All values of one segment's accepted documents.

    Args:
        column: the field's column in this segment, None where it has none.
        mask: ``(n,)`` the accepted documents.
        members: `Leaf.path` after the field's own name.
    """
    if column is None:
        return pa.nulls(0), np.zeros(0, dtype=np.int64)
    accepted = column.filter(pa.array(mask))
    if isinstance(accepted, pa.ChunkedArray):
        accepted = accepted.combine_chunks()
    values, rows = leaves(accepted, members)
    if pa.types.is_null(values.type):
        return pa.nulls(0), np.zeros(0, dtype=np.int64)
    return _count(_countable(values), rows)


def top_counts(parts: Iterable[ValueCounts], kind: pa.DataType, limit: int) -> list[tuple[Any, int]]:
    """The counts of several segments added up: the ``limit`` most frequent values.

    ``kind`` is the type in the index (`Leaf.kind`), to which every segment's values are widened.
    Most frequent first, equally frequent ones by value. Values are Python's: bool, int, float, str,
    date or datetime.

    Raises:
        FilterError: ``limit`` below 1.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise FilterError(f"the limit of facets is a whole number of at least 1, not {shown(limit)}")
    known = [part for part in parts if len(part[1])]
    if not known:
        return []
    values = pa.concat_arrays([part[0].cast(kind, safe=False) for part in known])
    encoded = values.dictionary_encode()
    counts = np.zeros(len(encoded.dictionary), dtype=np.int64)
    np.add.at(counts, encoded.indices.to_numpy(), np.concatenate([part[1] for part in known]))
    return _best(encoded.dictionary, counts, limit)


def _countable(values: pa.Array) -> pa.Array:
    """NaN as null, and one zero."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), pc.add(values, 0.0))


def _count(values: pa.Array, rows: IntArray | None) -> ValueCounts:
    encoded = values.dictionary_encode()
    distinct, codes = encoded.dictionary, encoded.indices
    if codes.null_count:
        present = np.asarray(codes.is_valid())
        rows = None if rows is None else rows[present]
        codes = codes.drop_null()
    found = codes.to_numpy()
    if rows is not None:
        # One number for each pair of document and value, so that a pair counts once.
        pairs = np.sort(rows * len(distinct) + found)
        found = pairs[np.diff(pairs, prepend=-1) > 0] % max(len(distinct), 1)
    return distinct, np.bincount(found, minlength=len(distinct))


def _best(values: pa.Array, counts: IntArray, limit: int) -> list[tuple[Any, int]]:
    if len(counts) > limit:  # sort only what can be among them
        least = np.partition(counts, -limit)[-limit]
        values, counts = values.filter(pa.array(counts >= least)), counts[counts >= least]
    table = pa.table({"value": values, "count": counts})
    order = pc.sort_indices(table, [("count", "descending"), ("value", "ascending")])[:limit]
    best = table.take(order)
    return list(zip(best["value"].to_pylist(), best["count"].to_pylist(), strict=True))
