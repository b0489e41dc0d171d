"""A filter as Python objects: small frozen values that check themselves when they are made.

A condition names a metadata field. ``place.city`` is the member ``city`` of the object ``place``;
lists are looked into without any sign (``authors.name`` where ``authors`` is a list of objects), and
a condition on a list holds if it holds for any element. A condition on a missing value or null is
false, so that ``must_not`` of it is true.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeAlias

import numpy as np

from retrieval.errors import FilterError
from retrieval.jsonable import json_value

__all__ = [
    "BOUNDS",
    "MAX_CONDITIONS",
    "MAX_DEPTH",
    "MAX_VALUES",
    "AnyOf",
    "Condition",
    "Exists",
    "Filter",
    "HasId",
    "Match",
    "Prefix",
    "Range",
    "Scalar",
    "check_field",
    "shown",
]

MAX_DEPTH = 32
"""Filters inside filters, the outermost one counted."""
MAX_CONDITIONS = 1_000
"""Conditions and nested filters of a filter, all levels together."""
MAX_VALUES = 100_000
"""Values of one `AnyOf` or `HasId`."""
MAX_BITS = 1023
"""Of an integer, so that a float is near it."""
BOUNDS = ("gt", "gte", "lt", "lte")

Scalar: TypeAlias = bool | int | float | str | date | datetime
"""What a field is compared with. Dates and time stamps may be ISO 8601 strings."""


@dataclass(frozen=True, slots=True)
class Match:
    """The value equals ``value``. Numbers are compared exactly: 3 is 3.0, and true is no number."""

    field: str
    value: Scalar

    def __post_init__(self) -> None:
        check_field(self.field)
        _set(self, "value", _scalar(self.value))

    def to_json(self) -> dict[str, Any]:
        """``{"key": field, "match": {"value": value}}``."""
        return {"key": self.field, "match": {"value": json_value(self.value)}}


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The value equals one of ``values``; of none if there are none."""

    field: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        check_field(self.field)
        values = _tuple(self.values, "the values of AnyOf are", MAX_VALUES)
        _set(self, "values", tuple(_scalar(value) for value in values))

    def to_json(self) -> dict[str, Any]:
        """``{"key": field, "match": {"any": values}}``."""
        return {"key": self.field, "match": {"any": [json_value(value) for value in self.values]}}


@dataclass(frozen=True, slots=True)
class Range:
    """The number, date or time stamp lies within all bounds given; at least one is.

    A date as the bound of a time stamp means the whole day: ``lte`` includes it to its end, ``gt``
    begins after it.
    """

    field: str
    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None

    def __post_init__(self) -> None:
        check_field(self.field)
        for name, bound in self.bounds().items():
            if isinstance(bound, bool):
                raise FilterError(f"a range's {name} is a number, date or time stamp, not {bound!r}")
            _set(self, name, _scalar(bound))
        if not self.bounds():
            raise FilterError(f"the range of {self.field!r} has no bounds; give gt, gte, lt or lte")

    def bounds(self) -> dict[str, Scalar]:
        """The bounds that are given, by name."""
        return {name: bound for name in BOUNDS if (bound := getattr(self, name)) is not None}

    def to_json(self) -> dict[str, Any]:
        """``{"key": field, "range": {"gte": bound, ...}}``."""
        return {
            "key": self.field,
            "range": {name: json_value(bound) for name, bound in self.bounds().items()},
        }


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value that is not null; for a list: in any of its elements, so ``[]`` does not exist."""

    field: str

    def __post_init__(self) -> None:
        check_field(self.field)

    def to_json(self) -> dict[str, Any]:
        """``{"key": field, "exists": true}``."""
        return {"key": self.field, "exists": True}


@dataclass(frozen=True, slots=True)
class Prefix:
    """The string begins with ``value``, character by character."""

    field: str
    value: str

    def __post_init__(self) -> None:
        check_field(self.field)
        if not isinstance(self.value, str):
            raise FilterError(f"a prefix is a string, not {shown(self.value)}")
        _scalar(self.value)

    def to_json(self) -> dict[str, Any]:
        """``{"key": field, "match": {"prefix": value}}``."""
        return {"key": self.field, "match": {"prefix": self.value}}


@dataclass(frozen=True, slots=True)
class HasId:
    """The document's id is one of ``ids``."""

    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        ids = _tuple(self.ids, "has_id takes", MAX_VALUES)
        for doc_id in ids:
            if not isinstance(doc_id, str):
                raise FilterError(f"an id is a string, not {shown(doc_id)}; write it in quotes")
            _scalar(doc_id)
        _set(self, "ids", ids)

    def to_json(self) -> dict[str, Any]:
        """``{"has_id": ids}``."""
        return {"has_id": list(self.ids)}


@dataclass(frozen=True, slots=True)
class Filter:
    """All of ``must``, at least one of ``should`` (if there are any), and none of ``must_not``.

    An empty filter accepts everything. Each part is a sequence of conditions and filters.

    Raises:
        FilterError: something that is no condition, or more than `MAX_DEPTH` or `MAX_CONDITIONS`.
    """

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    _depth: int = field(init=False, repr=False, compare=False)
    _size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("must", "should", "must_not"):
            parts = _tuple(getattr(self, name), f"{name} is", MAX_CONDITIONS)
            for part in parts:
                if not isinstance(part, _CONDITIONS):
                    raise FilterError(f"{name} holds {shown(part)}, which is no condition; use Match, ...")
            _set(self, name, parts)
        parts = self.must + self.should + self.must_not
        inner = [part for part in parts if isinstance(part, Filter)]
        _set(self, "_depth", 1 + max((part._depth for part in inner), default=0))
        _set(self, "_size", len(parts) + sum(part._size for part in inner))
        if self._depth > MAX_DEPTH:
            raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
        if self._size > MAX_CONDITIONS:
            raise FilterError(f"the filter has {self._size} conditions; at most {MAX_CONDITIONS} are allowed")

    @property
    def is_empty(self) -> bool:
        """Whether no condition is in it, nor in the filters inside it."""
        parts = self.must + self.should + self.must_not
        return all(isinstance(part, Filter) and part.is_empty for part in parts)

    @classmethod
    def from_json(cls, source: object) -> Filter:
        """Read JSON text or parsed JSON; see `parse_filter`.

        Raises:
            FilterError: not a filter; the message begins with the JSON pointer of the mistake.
        """
        from retrieval.filters.parse import parse_filter  # it needs the classes above

        return parse_filter(source)

    def to_json(self) -> dict[str, Any]:
        """The filter as JSON values, which `from_json` reads; dates become ISO 8601 strings."""
        parts = {"must": self.must, "should": self.should, "must_not": self.must_not}
        return {name: [part.to_json() for part in some] for name, some in parts.items() if some}


Condition: TypeAlias = Match | AnyOf | Range | Exists | Prefix | HasId | Filter
_CONDITIONS = (Match, AnyOf, Range, Exists, Prefix, HasId, Filter)


def shown(value: object) -> str:
    """The value for a message, cut to a length that one can read."""
    told = repr(value)
    return told if len(told) <= 60 else told[:57] + "..."


def _set(condition: object, name: str, value: object) -> None:
    object.__setattr__(condition, name, value)  # how a frozen value is brought into its normal form


def _tuple(values: object, what: str, most: int) -> tuple[Any, ...]:
    if isinstance(values, str | dict) or not isinstance(values, Iterable):
        raise FilterError(f"{what} a list, not {shown(values)}")
    found = tuple(values)
    if len(found) > most:
        raise FilterError(f"{what} a list of at most {most} items, not {len(found)}")
    return found


def check_field(name: object) -> None:
    """Refuse what cannot be the name of a field.

    Raises:
        FilterError: no string, or an empty one.
    """
    if not isinstance(name, str) or not name:
        raise FilterError(f"a field's name is a string that is not empty, not {shown(name)}")
    _scalar(name)


def _scalar(value: object) -> Scalar:
    """The value itself, NumPy's scalars as Python's.

    Raises:
        FilterError: no scalar, not finite, or a string that has no UTF-8 form.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        raise FilterError("null is no value to compare with; for missing values use must_not with exists")
    if not isinstance(value, bool | int | float | str | date):
        raise FilterError(
            f"{shown(value)} is no value to compare with; use a bool, number, string, date or time stamp"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(f"{value} is no value to compare with; numbers are finite")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise FilterError(
            f"an integer of {value.bit_length()} bits is no value to compare with; at most {MAX_BITS}"
        )
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FilterError(
                f"{shown(value)} is not valid Unicode: it has half of a surrogate pair"
            ) from None
    return value
