"""Bodies within bounds: JSON that is checked before it is parsed, gzip that cannot swell."""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from pydantic_core import from_json

from server.http.problems import MAX_REPORTED_ERRORS, ProblemError, invalid_request

__all__ = ["check_values", "gunzip_limited", "parse_json"]

_BLOCK = 1 << 20
_QUOTE = ord('"')
_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_NO_LISTS = bytes(set(range(256)) - set(b'",{'))
_COMMA, _OBJECT = ord(","), ord("{")
_STEPS = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1

# What Python reads, but cannot write again: halves of surrogate pairs, and numbers that become infinite.
# An exponent of three digits, or three hundred digits in a row, are found in the outline of a body. Where a
# number ends matters: base64 has many digits after an e, but none of what follows a number.
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KINDS = {"0123456789": "0", "eE": "e", "+-": "+", " \t\r\n,]}": ","}
_KIND_OF = {one: kind for ones, kind in _KINDS.items() for one in ones}
_OUTLINE = bytes(ord(_KIND_OF.get(chr(i), "\0")) for i in range(256))
_HUGE_EXPONENT, _HUGE_NUMBER = re.compile(rb"e\+?000+(?:,|\Z)"), b"0" * 300
_SURROGATE = re.compile("[\ud800-\udfff]")

# Where a value is: the place of what holds it, and its name or number there. Pointers are written only when
# something is wrong: with long names they are long.
_Place: TypeAlias = "tuple[_Place, str | int] | None"
MAX_SHOWN = 100
MAX_VALUES = 4 << 20
"""Of a body, or a line of one: three bytes, and next to none of gzip, may be an object of 64."""
MAX_LISTED = 1 << 18
"""Values in a row without an object: they are parsed in one go, in which no other thread runs Python. A
document of 2,048 vectors of 128 numbers has no more."""

_SLICE = 16 << 10
_PIECE = 64 << 10
_MAX_MEMBERS = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
_FEW = 16
"""So many objects has a question, not a list of documents."""


def parse_json(body: bytes, max_depth: int) -> Any:
    """The value of a body of JSON in UTF-8.

    Stricter than `json.loads`: NaN, Infinity, and numbers that would become infinite are refused, and so are
    a member that is there twice in one object and texts with half a surrogate pair. Takes time in proportion
    to the length, whatever the content, and recurses at most ``max_depth`` levels.

    Raises:
        ProblemError: 400 ``malformed_json`` for what is not JSON; 422 ``json_too_deep`` for arrays and
            objects nested deeper than ``max_depth``; 413 ``too_many_values`` for more than `MAX_VALUES`, or
            `MAX_LISTED` in a row; 422 ``invalid_request`` for values that cannot be used.
    """
    if _is_deeper(body, max_depth):
        told = f"the JSON is nested too deep: more than {max_depth} levels"
        raise ProblemError(422, "json_too_deep", told)
    check_values(body)
    is_suspicious = _is_suspicious(body)
    try:
        if not is_suspicious and body.count(b"{") <= _FEW and body.count(b",") <= MAX_LISTED:
            with suppress(ValueError):  # what is wrong is told below
                value = from_json(body, allow_inf_nan=False, cache_strings="keys")
                if _has_every_member(value, body):
                    return value
        value = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except ValueError:  # Python's bound on the digits of an integer
        raise invalid_request([("", "a number has more than 4300 digits")]) from None
    if is_suspicious and (found := list(islice(_unusable(value), MAX_REPORTED_ERRORS))):
        raise invalid_request(found)
    return value


def check_values(body: bytes) -> None:
    """Whether JSON may hold so many values: each takes many times its bytes of memory, and time in which
    nothing else is done.

    Raises:
        ProblemError: 413 ``too_many_values``, more than `MAX_VALUES`, or than `MAX_LISTED` in a row.
    """
    if body.count(b",") <= min(MAX_LISTED, MAX_VALUES):
        return
    commas, in_a_row = _commas(body)
    if commas > MAX_VALUES:
        told = f"the JSON holds more than {MAX_VALUES} values; send less at once"
        raise ProblemError(413, "too_many_values", told)
    if in_a_row > MAX_LISTED:
        told = (
            f"the JSON holds more than {MAX_LISTED} values in a row, in one document for example; send "
            'vectors as {"base64": ...}, or documents as an Arrow stream'
        )
        raise ProblemError(413, "too_many_values", told)


async def gunzip_limited(chunks: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """What the gzip stream ``chunks`` (one member or several) unpacks to, in pieces of at most 64 KiB.

    Raises:
        ProblemError: 400 ``malformed_gzip`` for what is broken or cut off; 413 ``body_too_large`` as soon as
            more than ``max_bytes`` came out, or clearly more went in.
    """
    # What cannot be compressed grows a little; more than that is an archive of nothing.
    max_received = max_bytes + (max_bytes >> 8) + 1024
    stream = _GzipStream()
    received = unpacked = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > max_received:
            raise _too_large(max_bytes)
        for piece in stream.pieces(chunk):
            unpacked += len(piece)
            if unpacked > max_bytes:
                raise _too_large(max_bytes)
            yield piece
            await asyncio.sleep(0)  # a small chunk may hold a thousand pieces: other requests go on meanwhile
    stream.check_whole()


class _GzipStream:
    """Unpacks gzip members that follow each other."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._members = 1

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What the next part of the stream unpacks to."""
        # zlib hands what it has not used back as a copy: short slices keep the copies short.
        for start in range(0, len(chunk), _SLICE):
            yield from self._unpacked(chunk[start : start + _SLICE])

    def check_whole(self) -> None:
        """Raise unless the last member has ended."""
        if not self._member.eof:
            raise _broken("it is cut off")

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding, as gzip itself takes it
                if not data:
                    return
                self._next_member()
            try:
                piece = self._member.decompress(data, _PIECE)
            except zlib.error:
                raise _broken("it is damaged, or something else") from None
            if piece:
                yield piece
            # zlib may hold back output when its input is used up; a piece that is not full is the last.
            full = len(piece) == _PIECE and not self._member.eof
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise _broken(f"it has more than {_MAX_MEMBERS} members")
        self._member = zlib.decompressobj(_GZIP)


def _is_deeper(body: bytes, max_depth: int) -> bool:
    """Whether arrays and objects are nested deeper, outside of texts. Right up to where the body stops being
    JSON, which is as far as a parser goes."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _NO_STRUCTURE)
    level = quotes = 0
    for start in range(0, len(marks), _BLOCK) if len(marks) > max_depth else ():
        codes = np.frombuffer(marks, np.uint8, min(_BLOCK, len(marks) - start), start)
        quotes_by = np.cumsum(codes == _QUOTE, dtype=np.int32) + quotes
        levels = np.cumsum(np.where(quotes_by % 2 == 0, _STEPS[codes], 0), dtype=np.int64) + level
        if levels.max() > max_depth:
            return True
        level, quotes = int(levels[-1]), int(quotes_by[-1]) % 2
    return False


def _commas(body: bytes) -> tuple[int, int]:
    """How many there are outside of texts: as many as values, but for one in each array and object. And the
    most of them without the beginning of an object between."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _NO_LISTS)
    commas = quotes = begun_at = longest = 0
    for start in range(0, len(marks), _BLOCK):
        codes = np.frombuffer(marks, np.uint8, min(_BLOCK, len(marks) - start), start)
        quotes_by = np.cumsum(codes == _QUOTE, dtype=np.int32) + quotes
        is_outside = quotes_by % 2 == 0
        commas_by = np.cumsum((codes == _COMMA) & is_outside, dtype=np.int64) + commas
        begins = commas_by[(codes == _OBJECT) & is_outside]  # commas before each object
        edges = np.concatenate(([begun_at], begins, commas_by[-1:]))
        longest, begun_at = max(longest, int(np.diff(edges).max())), int(edges[-2])
        commas, quotes = int(commas_by[-1]), int(quotes_by[-1]) % 2
    return commas, longest


def _has_every_member(value: Any, body: bytes) -> bool:
    """Whether none was there twice, of which the fast parser keeps the last: there are as many objects and
    members in ``value`` as braces and colons in the body. False too where some are within texts or lists."""
    objects, members, waiting = 0, 0, [value]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            objects, members = objects + 1, members + len(one)
            waiting += one.values()
    return objects == body.count(b"{") and members == body.count(b":")


def _is_suspicious(body: bytes) -> bool:
    outline = body.translate(_OUTLINE)
    return (
        _HUGE_NUMBER in outline
        or _HUGE_EXPONENT.search(outline) is not None
        or (b"\\" in body and _ESCAPED_SURROGATE.search(body) is not None)
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise invalid_request([("", f"the member {twice[:MAX_SHOWN]!r} is there twice in one object")])
    return members


def _no_number(name: str) -> Any:
    raise _malformed(f"{name} is not a number of JSON")


def _unusable(value: Any) -> Iterator[tuple[str, str]]:
    """(JSON pointer, what is wrong) of every text and number that could not be written as JSON again, in the
    order of the body."""
    waiting: list[tuple[_Place, Any]] = [(None, value)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            for name in value:
                if _SURROGATE.search(name):
                    yield _pointer((place, name)), "the name holds half a surrogate pair, which is no text"
            waiting.extend(((place, name), member) for name, member in reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend(((place, i), value[i]) for i in reversed(range(len(value))))
        elif isinstance(value, str) and _SURROGATE.search(value):
            yield _pointer(place), "the text holds half a surrogate pair, which is no text"
        elif isinstance(value, float) and math.isinf(value):
            yield _pointer(place), "the number is too large for a float64"


def _pointer(place: _Place) -> str:
    """JSON pointer (RFC 6901); long names are cut."""
    parts = []
    while place is not None:
        place, part = place
        parts.append(str(part)[:MAX_SHOWN].replace("~", "~0").replace("/", "~1"))
    return "".join("/" + part for part in reversed(parts))


def _malformed(told: str) -> ProblemError:
    return ProblemError(400, "malformed_json", f"the body is not JSON: {told}")


def _broken(told: str) -> ProblemError:
    return ProblemError(400, "malformed_gzip", f"the body is not a whole gzip stream: {told}")


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(413, "body_too_large", f"the body is larger than {max_bytes} bytes, unpacked")
