"""What a filter means, in plain Python on plain values: the definition that the masks are held against."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from retrieval.filters import AnyOf, Condition, Exists, Filter, HasId, Match, Prefix, Range

COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def accepts(given: Condition, doc_id: str, metadata: Mapping[str, Any]) -> bool:
    """Whether the document passes; the filter holds Python's dates, not strings."""
    match given:
        case Filter(must, should, must_not):
            return (
                all(accepts(part, doc_id, metadata) for part in must)
                and (not should or any(accepts(part, doc_id, metadata) for part in should))
                and not any(accepts(part, doc_id, metadata) for part in must_not)
            )
        case HasId(ids):
            return doc_id in ids
    return any(_holds(given, value) for value in values_of(metadata, given.field))


def values_of(metadata: Mapping[str, Any], name: str) -> Iterator[Any]:
    """The values that a dotted name reaches; nulls left out."""
    if name in metadata:
        yield from _elements(metadata[name])
    else:
        head, _, rest = name.partition(".")
        for value in _elements(metadata.get(head)):
            if isinstance(value, Mapping):
                yield from values_of(value, rest)


def _elements(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _elements(item)
    elif value is not None:
        yield value


def _holds(given: Condition, value: Any) -> bool:
    match given:
        case Match(_, wanted):
            return _moment(value) == _moment(wanted)
        case AnyOf(_, wanted):
            return any(_moment(value) == _moment(one) for one in wanted)
        case Range():
            return all(_bounded(value, name, bound) for name, bound in given.bounds().items())
        case Prefix(_, prefix):
            return value.startswith(prefix)
        case Exists():
            return True
    raise TypeError(given)


def _bounded(value: Any, name: str, bound: Any) -> bool:
    if isinstance(value, datetime) and not isinstance(bound, datetime):
        value = value.date()  # a day is compared with the day of the moment
    return COMPARE[name](_moment(value), _moment(bound))


def _moment(value: Any) -> Any:
    """Moments with a zone as those of UTC without one, which is what a field in UTC takes too."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value
