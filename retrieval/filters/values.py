"""Values of a filter in the type of the field that they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time

import pyarrow as pa

from retrieval.errors import FilterError
from retrieval.filters.expression import Scalar, shown

__all__ = ["day_bound", "typed"]


def typed(value: Scalar, kind: pa.DataType, field: str) -> Scalar:
    """``value`` as a Python value that a field of type ``kind`` can be compared with.

    Integers and floats stay what they are: they are compared exactly, whichever the field holds.

    Raises:
        FilterError: it cannot be compared; the message names the field, its type and the value.
    """
    if pa.types.is_null(kind):  # a field of nothing but nulls: true for no document, whatever the value
        return value
    if pa.types.is_struct(kind):
        members = ", ".join(f"{field}.{member.name}" for member in list(kind)[:5]) or "none"
        raise FilterError(f"the field {field!r} holds objects; name a member to compare ({members})")
    for of_kind, convert, hint in _KINDS:
        if of_kind(kind):
            found = convert(value, kind)
            if found is None:
                raise FilterError(f"the field {field!r} holds {kind}, not {shown(value)}; {hint}")
            return found
    raise FilterError(f"the field {field!r} holds {kind}, which filters cannot compare")


def day_bound(bound: Scalar, name: str) -> Scalar:
    """A date as the bound of time stamps: the first or the last microsecond of its day.

    ``gte`` and ``lt`` look at the day's beginning, ``gt`` and ``lte`` at its end. Anything else is
    returned as it is.
    """
    day = _date(bound)
    if day is None:
        return bound
    return datetime.combine(day, time.max if name in ("gt", "lte") else time.min)


def _bool(value: Scalar, _: pa.DataType) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: Scalar, _: pa.DataType) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _string(value: Scalar, _: pa.DataType) -> str | None:
    return value if isinstance(value, str) else None


def _date(value: Scalar, _: pa.DataType | None = None) -> date | None:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def _time_stamp(value: Scalar, kind: pa.DataType) -> datetime | None:
    if isinstance(value, str) and _date(value) is None:  # a day is no moment
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    if value.utcoffset() is None:
        return value.replace(tzinfo=UTC) if kind.tz else value
    return value if kind.tz else None


_KINDS: tuple[
    tuple[Callable[[pa.DataType], bool], Callable[[Scalar, pa.DataType], Scalar | None], str], ...
] = (
    (pa.types.is_boolean, _bool, "use true or false"),
    (pa.types.is_integer, _number, "use a number without quotes"),
    (pa.types.is_floating, _number, "use a number without quotes"),
    (pa.types.is_string, _string, "use a string"),
    (pa.types.is_date, _date, "use a date such as '2020-01-31'"),
    (
        lambda kind: bool(pa.types.is_timestamp(kind) and kind.tz),
        _time_stamp,
        "use a time stamp such as '2020-01-31T12:00:00Z', or a range for whole days",
    ),
    (
        pa.types.is_timestamp,
        _time_stamp,
        "use a time stamp without a zone such as '2020-01-31T12:00:00', or a range for whole days",
    ),
)
