"""JSON lines: one object a line."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from retrieval.corpus.document import FieldNames
from retrieval.corpus.source import LineReader, Progress, Rows, Source
from retrieval.errors import DataError

__all__ = ["json_object", "read_jsonl"]


def read_jsonl(source: Source, names: FieldNames, progress: Progress) -> Rows:  # noqa: ARG001
    """Read the objects of a file of JSON lines; blank lines are left out.

    Raises:
        DataError: the file cannot be read on.
    """
    with LineReader(source) as lines, progress.file(lines.position):
        for line in lines:
            if not line.isspace():
                where = lines.where
                yield where, json_object(line, where)


def json_object(line: bytes, where: str) -> dict[str, Any] | DataError:
    """The object on a line, or what is wrong with it. Keys are unique and numbers finite."""
    try:
        value = _DECODER.decode(line.rstrip(b"\r\n").decode("utf-8"))
    except UnicodeDecodeError as error:
        told = f"not UTF-8 at byte {error.start + 1} of the line; convert the file to UTF-8"
        return DataError(told, where)
    except json.JSONDecodeError as error:
        return DataError(f"not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}", where)
    except RecursionError:
        return DataError("not usable JSON: nested too deeply", where)
    except ValueError as error:  # from the hooks below, or an integer of thousands of digits
        return DataError(f"not valid JSON: {error}", where)
    if not isinstance(value, dict):
        return DataError(f"a JSON object is expected on each line, not {type(value).__name__}", where)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null")


# One decoder for all lines: json.loads with options would make a new one for every call.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)
