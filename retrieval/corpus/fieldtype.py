"""Types of metadata values: what they are, how they widen, how they become Arrow types.

A type is written as JSON: a scalar's name (``"int64"``), ``{"list": T}`` or
``{"struct": {name: T}}``. It is the form that is stored, and the form that is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, TypeAlias

import pyarrow as pa

__all__ = [
    "FieldType",
    "TypeConflict",
    "arrow_type",
    "as_floats",
    "check_string",
    "holds_float",
    "large_integers",
    "new_floats",
    "widen",
]

FieldType: TypeAlias = "str | dict[str, Any]"

MAX_DEPTH = 32
_ARROW = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "date32": pa.date32(),
    "timestamp[us]": pa.timestamp("us"),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
}
_NUMBERS = ("int64", "float64")


class TypeConflict(ValueError):
    """A value that does not fit; the message says which and why."""


def widen(known: FieldType, value: Any, path: str, depth: int = 0) -> FieldType:
    """The narrowest type that holds ``value`` and everything ``known`` holds.

    Nulls fit everything, integers widen to floats, lists and structs widen inside. Returns
    ``known`` itself where nothing changes. ``path`` names the field in messages.

    Raises:
        TypeConflict: no such type.
    """
    if value is None:
        return known
    if depth > MAX_DEPTH:
        raise TypeConflict(f"field {path!r} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list | tuple):
        return _widen_list(known, value, path, depth)
    if isinstance(value, dict):
        return _widen_struct(known, value, path, depth)
    kind = _scalar(value, path)
    if known in (kind, "null"):
        return kind
    if known in _NUMBERS and kind in _NUMBERS:
        return "float64"
    raise _conflict(path, kind, known)


def _widen_list(known: FieldType, values: list[Any] | tuple[Any, ...], path: str, depth: int) -> FieldType:
    if known == "null":
        known = {"list": "null"}
    if not isinstance(known, dict) or "list" not in known:
        raise _conflict(path, "list", known)
    inner, path = known["list"], f"{path}[]"
    for value in values:
        inner = widen(inner, value, path, depth + 1)
    return known if inner is known["list"] else {"list": inner}


def _widen_struct(known: FieldType, values: dict[Any, Any], path: str, depth: int) -> FieldType:
    if known == "null":
        known = {"struct": {}}
    if not isinstance(known, dict) or "struct" not in known:
        raise _conflict(path, "struct", known)
    fields = dict(known["struct"])
    for name, value in values.items():
        if not isinstance(name, str):
            raise TypeConflict(f"field {path!r} has the key {name!r}; keys must be strings")
        check_string(name, path)
        fields[name] = widen(fields.get(name, "null"), value, f"{path}.{name}", depth + 1)
    return known if fields == known["struct"] else {"struct": fields}


def _scalar(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise TypeConflict(
                f"field {path!r} has an integer that does not fit 64 bits; write it as a string"
            )
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        check_string(value, path)
        return "string"
    if isinstance(value, datetime):
        return "timestamp[us]" if value.utcoffset() is None else "timestamp[us, tz=UTC]"
    if isinstance(value, date):
        return "date32"
    raise TypeConflict(
        f"field {path!r} is {type(value).__name__}, which metadata cannot hold; use a bool, number, string, "
        "date, time stamp, list or object"
    )


def check_string(text: str, path: str) -> None:
    """Refuse a string that has no UTF-8 form.

    Raises:
        TypeConflict: half of a surrogate pair.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeConflict(f"field {path!r} is not valid Unicode: it has half of a surrogate pair") from None


def _conflict(path: str, kind: str, known: FieldType) -> TypeConflict:
    before = known if isinstance(known, str) else next(iter(known))
    return TypeConflict(f"field {path!r} is {kind} here but {before} before")


def large_integers(kind: FieldType, value: Any, path: str) -> Iterator[tuple[str, int, bool]]:
    """The integers in ``value`` that a float64 would round: where each is, and whether ``kind``, which holds
    the value, has floats there."""
    if isinstance(value, int) and not isinstance(value, bool):
        if float(value) != value:
            yield path, value, kind == "float64"
    elif isinstance(value, list | tuple) and isinstance(kind, dict):
        for item in value:
            yield from large_integers(kind["list"], item, f"{path}[]")
    elif isinstance(value, dict) and isinstance(kind, dict):
        for name, item in value.items():
            yield from large_integers(kind["struct"][name], item, f"{path}.{name}")


def new_floats(before: FieldType, after: FieldType, path: str) -> Iterator[str]:
    """Where a type had integers, and has floats after it was widened."""
    if before == "int64" and after == "float64":
        yield path
    elif isinstance(before, dict) and isinstance(after, dict) and "list" in before:
        yield from new_floats(before["list"], after["list"], f"{path}[]")
    elif isinstance(before, dict) and isinstance(after, dict):
        for name, inner in before["struct"].items():
            yield from new_floats(inner, after["struct"][name], f"{path}.{name}")


def arrow_type(kind: FieldType) -> pa.DataType:
    """The Arrow type of a field type.

    Raises:
        ValueError: not a field type that this version knows.
    """
    match kind:
        case str() if kind in _ARROW:
            return _ARROW[kind]
        case {"list": inner, **rest} if not rest:
            return pa.list_(arrow_type(inner))
        case {"struct": dict() as fields, **rest} if not rest:
            return pa.struct([(name, arrow_type(inner)) for name, inner in fields.items()])
    raise ValueError(f"{kind!r} is not a metadata type")


def holds_float(kind: pa.DataType) -> bool:
    """Whether a float64 is anywhere in the type."""
    if pa.types.is_nested(kind):
        return any(holds_float(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_float64(kind))


def as_floats(value: Any, kind: pa.DataType) -> Any:
    """``value`` with the integers where ``kind`` has floats turned into floats.

    Arrow itself refuses integers from 2**53, also those that float64 does not round.
    """
    if value is None:
        return None
    if pa.types.is_float64(kind):
        return float(value)
    if pa.types.is_list(kind):
        return [as_floats(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: as_floats(value.get(field.name), field.type) for field in kind}
    return value
