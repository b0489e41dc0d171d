"""JSON to a filter. The spelling is Qdrant's, with ``exists`` and ``prefix`` beside:

    {"must": [{"key": "lang", "match": {"any": ["en", "de"]}},
              {"key": "year", "range": {"gte": 2000}},
              {"key": "title", "match": {"prefix": "Foo"}},
              {"should": [{"has_id": ["a", "b"]}, {"key": "doi", "exists": true}]}],
     "must_not": {"key": "lang", "match": {"value": "fr"}}}

One condition may stand without its list, and null is an empty list. ``"exists": false`` says that it
must not exist. For people there is a short spelling, an object of fields that must all hold:

    {"lang": "en", "year": {"gte": 2000}, "tags": ["a", "b"], "title": {"prefix": "Foo"}}

An outermost object with ``must``, ``should`` or ``must_not`` is never read as short; a field of such a
name, or one named ``has_id``, needs the full spelling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from retrieval.errors import FilterError
from retrieval.filters.expression import (
    BOUNDS,
    MAX_DEPTH,
    AnyOf,
    Condition,
    Exists,
    Filter,
    HasId,
    Match,
    Prefix,
    Range,
    check_field,
    shown,
)

__all__ = ["parse_filter"]

_Made = TypeVar("_Made")
_PARTS = ("must", "should", "must_not")


def parse_filter(source: object) -> Filter:
    """Read a filter from JSON text or from parsed JSON.

    Raises:
        FilterError: not JSON, or not a filter. The message begins with the JSON pointer (RFC 6901)
            of what is wrong, such as ``/must/1/range/gtee``.
    """
    if isinstance(source, str):
        source = _loads(source)
    given = _object(source, "", "a filter")
    if not given or given.keys() & set(_PARTS):
        return _filter(given, "", 1)
    return _short(given)


def _loads(text: str) -> object:
    def no_number(word: str) -> object:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=no_number)
    except RecursionError:
        raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise FilterError(f"the filter is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # json would keep the last one and drop a condition
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is given twice")
    return found


def _filter(given: Mapping[str, Any], pointer: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    _only(given, _PARTS, pointer, "a filter has")
    parts = {name: _conditions(given[name], f"{pointer}/{name}", depth) for name in given}
    return _made(pointer, Filter, **parts)


def _conditions(given: Any, pointer: str, depth: int) -> tuple[Condition, ...]:
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return (_condition(given, pointer, depth),)
    items = _list(given, pointer, "a list of conditions")
    return tuple(_condition(item, f"{pointer}/{i}", depth) for i, item in enumerate(items))


def _condition(item: Any, pointer: str, depth: int) -> Condition:
    given = _object(item, pointer, "a condition")
    if not given or given.keys() & set(_PARTS):
        return _filter(given, pointer, depth + 1)
    if "has_id" in given:
        _only(given, ("has_id",), pointer, "beside has_id there is")
        return _has_id(given["has_id"], f"{pointer}/has_id")
    _only(given, ("key", *_FORMS), pointer, "a condition has")
    if "key" not in given:
        raise _wrong(pointer, "the condition has no 'key', the field it is about")
    _made(f"{pointer}/key", check_field, given["key"])
    form = _one(given.keys() - {"key"}, _FORMS, pointer)
    return _FORMS[form](given["key"], given[form], f"{pointer}/{form}")


def _short(given: Mapping[str, Any]) -> Filter:
    if "key" in given and given.keys() & set(_FORMS):
        raise _wrong("", 'a single condition stands in a list: {"must": [...]}')
    conditions = tuple(_short_condition(name, value, _child("", name)) for name, value in given.items())
    return _made("", Filter, must=conditions)


def _short_condition(name: str, value: Any, pointer: str) -> Condition:
    if name == "has_id":
        return _has_id(value, pointer)
    if isinstance(value, Mapping):
        _only(value, (*BOUNDS, *_SHORT), pointer, "(a member is written 'object.member') there are")
        if value.keys() <= set(BOUNDS):
            return _range(name, value, pointer)
        form = _one(value.keys(), _SHORT, pointer)
        return _SHORT[form](name, value[form], f"{pointer}/{form}")
    if isinstance(value, list | tuple):
        return _made(pointer, AnyOf, name, value)
    return _made(pointer, Match, name, value)


def _match(key: Any, given: Any, pointer: str) -> Condition:
    forms = ("value", "any", "prefix")
    found = _object(given, pointer, "a match")
    _only(found, forms, pointer, "a match has")
    form = _one(found.keys(), forms, pointer)
    value, pointer = found[form], f"{pointer}/{form}"
    if form == "prefix":
        return _prefix(key, value, pointer)
    if form == "any":
        return _made(pointer, AnyOf, key, _list(value, pointer, "a list of values"))
    return _made(pointer, Match, key, value)


def _prefix(key: Any, given: Any, pointer: str) -> Condition:
    return _made(pointer, Prefix, key, given)


def _range(key: Any, given: Any, pointer: str) -> Condition:
    bounds = _object(given, pointer, "a range")
    _only(bounds, BOUNDS, pointer, "a range has")
    return _made(pointer, Range, key, **bounds)


def _exists(key: Any, given: Any, pointer: str) -> Condition:
    if not isinstance(given, bool):
        raise _wrong(pointer, f"expected true or false, not {shown(given)}")
    found: Condition = _made(pointer, Exists, key)
    return found if given else Filter(must_not=(found,))


def _has_id(given: Any, pointer: str) -> Condition:
    return _made(pointer, HasId, _list(given, pointer, "a list of ids"))


_FORMS: Mapping[str, Callable[[Any, Any, str], Condition]] = {
    "match": _match,
    "range": _range,
    "exists": _exists,
}
_SHORT: Mapping[str, Callable[[Any, Any, str], Condition]] = {"prefix": _prefix, "exists": _exists}


def _object(value: Any, pointer: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(pointer, f"{what} is an object, not {shown(value)}")
    return value


def _list(value: Any, pointer: str, what: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(pointer, f"expected {what}, not {shown(value)}")
    return value


def _only(given: Mapping[str, Any], known: Iterable[str], pointer: str, which: str) -> None:
    if unknown := [name for name in given if name not in known]:
        raise _wrong(_child(pointer, unknown[0]), f"unknown key; {which} {', '.join(known)}")


def _one(given: Iterable[str], forms: Iterable[str], pointer: str) -> str:
    found = sorted(given)
    if len(found) != 1:
        told = f"{' and '.join(found)} together" if found else "none"
        raise _wrong(pointer, f"exactly one of {', '.join(forms)} is expected, not {told}")
    return found[0]


def _made(pointer: str, make: Callable[..., _Made], *values: Any, **named: Any) -> _Made:
    try:
        return make(*values, **named)
    except FilterError as error:
        raise _wrong(pointer, str(error)) from None


def _child(pointer: str, name: object) -> str:
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


def _wrong(pointer: str, told: str) -> FilterError:
    # A key may hold anything; a message is one line.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in pointer)
    return FilterError(f"{shown or 'the filter'}: {told}")
