"""Parts of a file that a request asks for."""

from __future__ import annotations

import re

from starlette.requests import Request

from server.http.problems import ProblemError

__all__ = ["check_range"]

ONE_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")


def check_range(request: Request, size: int) -> None:
    """Refuse a ``Range`` that a file of ``size`` bytes has not, before a `FileResponse` does: it answers
    with plain text.

    Raises:
        ProblemError: 416 bad_range: malformed, several, or beyond the end.
    """
    given = request.headers.get("range")
    if given is None:
        return
    found = ONE_RANGE.fullmatch(given.strip())
    first, last = (found["first"], found["last"]) if found else ("", "")
    is_there = int(first) < size and (not last or int(first) <= int(last)) if first else last.strip("0") != ""
    if not is_there:
        told = f"there is no such part; ask for one range within {size} bytes, as 'bytes=0-999'"
        raise ProblemError(416, "bad_range", told, headers={"Content-Range": f"bytes */{size}"})
