"""A filter against the types of an index's fields: every name resolved, every value of the right type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from retrieval.errors import FilterError
from retrieval.filters.expression import (
    AnyOf,
    Condition,
    Exists,
    Filter,
    HasId,
    Match,
    Prefix,
    Range,
    Scalar,
    shown,
)
from retrieval.filters.paths import Leaf, resolve
from retrieval.filters.values import day_bound, typed

__all__ = ["CheckedFilter", "check"]


@dataclass(frozen=True, slots=True)
class CheckedFilter:
    """A filter that fits an index: values are of the fields' types, ``paths`` says where they lie."""

    filter: Filter
    paths: Mapping[str, tuple[str, ...]]


def check(given: Filter, fields: Mapping[str, pa.DataType]) -> CheckedFilter:
    """Hold a filter against the fields of an index (their types over all segments).

    Dates and time stamps given as strings are read. A time stamp without a zone means UTC where the
    field is in UTC; one with a zone is refused where the field has none.

    Raises:
        FilterError: an unknown field, or a value or condition that does not go with the field's type.
    """
    paths: dict[str, tuple[str, ...]] = {}
    return CheckedFilter(_filter(given, fields, paths), paths)


def _filter(given: Filter, fields: Mapping[str, pa.DataType], paths: dict[str, tuple[str, ...]]) -> Filter:
    def checked(parts: tuple[Condition, ...]) -> tuple[Condition, ...]:
        return tuple(
            _filter(part, fields, paths) if isinstance(part, Filter) else _condition(part, fields, paths)
            for part in parts
        )

    return Filter(checked(given.must), checked(given.should), checked(given.must_not))


def _condition(
    given: Match | AnyOf | Range | Exists | Prefix | HasId,
    fields: Mapping[str, pa.DataType],
    paths: dict[str, tuple[str, ...]],
) -> Condition:
    if isinstance(given, HasId):
        return given
    leaf = resolve(given.field, fields)
    paths[given.field] = leaf.path
    match given:
        case Exists():
            return given
        case Match(name, value):
            return Match(name, typed(value, leaf.kind, name))
        case AnyOf(name, values):
            return AnyOf(name, tuple(typed(value, leaf.kind, name) for value in values))
        case Prefix():
            return _prefix(given, leaf)
        case Range():
            return _range(given, leaf)


def _prefix(given: Prefix, leaf: Leaf) -> Prefix:
    if pa.types.is_string(leaf.kind) or pa.types.is_null(leaf.kind):
        return given
    raise FilterError(
        f"the field {given.field!r} holds {leaf.kind}, but the prefix {shown(given.value)} needs strings"
    )


def _range(given: Range, leaf: Leaf) -> Range:
    kind, bounds = leaf.kind, given.bounds()
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        raise FilterError(
            f"the field {given.field!r} holds {kind}, but a range ({_told(bounds)}) needs numbers, dates or "
            "time stamps; use match (value, any, prefix)"
        )
    if pa.types.is_timestamp(kind):
        bounds = {name: day_bound(bound, name) for name, bound in bounds.items()}
    return Range(given.field, **{name: typed(bound, kind, given.field) for name, bound in bounds.items()})


def _told(bounds: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name} {shown(bound)}" for name, bound in bounds.items())
