"""Bytes of one file, plain or gzip, a line at a time, with the share read so far."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from retrieval.errors import DataError

__all__ = ["BOM", "MAX_LINE_BYTES", "LineReader", "Progress", "Row", "Rows", "Source", "reading"]

MAX_LINE_BYTES = 64 << 20
BOM = b"\xef\xbb\xbf"

Row = tuple[str, "dict[str, Any] | DataError"]
Rows = Generator[Row, None, None]
"""What a reader yields: ``file:line``, and the fields found there or why they cannot be read.

An error that is yielded concerns this row; one that is raised, everything after it.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a corpus and its name in messages."""

    path: Path
    name: str

    @property
    def is_gzip(self) -> bool:
        """By the name, as gzip itself decides."""
        return self.path.name.lower().endswith(".gz")


@dataclass(slots=True)
class Progress:
    """How much of the input one iteration has read.

    ``done`` counts bytes of finished files; ``position`` asks the open file. Sizes are looked
    up when somebody asks for the share, not before.
    """

    paths: Callable[[], Iterator[Path]]
    done: int = 0
    position: Callable[[], int] | None = None
    finished: bool = False
    _total: int | None = field(default=None)

    def fraction(self) -> float:
        """Share of bytes read, 0 to 1."""
        if self.finished:
            return 1.0
        if self._total is None:
            self._total = sum(_size(path) for path in self.paths())
        read = self.done + (self.position() if self.position else 0)
        return min(1.0, read / self._total) if self._total else 0.0

    @contextmanager
    def file(self, position: Callable[[], int]) -> Iterator[None]:
        """While the file is open, ask it how far it is."""
        self.position = position
        try:
            yield
        finally:
            self.done += position()
            self.position = None


class LineReader:
    """Lines of a file as bytes with their ends, one at a time; use it in a ``with``.

    ``number`` is the line last read, from 1. A byte order mark is dropped.

    Raises:
        DataError: the file cannot be opened, read or unpacked, or a line is longer than
            `MAX_LINE_BYTES`. What follows cannot be read, so no policy is asked.
    """

    def __init__(self, source: Source) -> None:
        self.number = 0
        self._source = source
        with reading(source.name):
            self._raw = source.path.open("rb")
        # No buffer around GzipFile: it would read ahead and name a wrong line for damaged data.
        self._stream = gzip.GzipFile(fileobj=self._raw, mode="rb") if source.is_gzip else self._raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()

    @property
    def where(self) -> str:
        """``file:line`` of the line last read."""
        return f"{self._source.name}:{self.number}"

    def position(self) -> int:
        """Bytes of the file as stored (compressed, if it is) that were read."""
        return self._raw.tell()

    def __iter__(self) -> Iterator[bytes]:
        self._refuse_empty_gzip()
        readline = self._stream.readline
        line = self._next(readline)
        line = line.removeprefix(BOM)
        while line:
            yield line
            line = self._next(readline)

    def _next(self, readline: Callable[[int], bytes]) -> bytes:
        self.number += 1
        try:
            line = readline(MAX_LINE_BYTES + 1)
        except EOFError:
            raise DataError("the gzip data ends too early; the file is cut off", self.where) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"the gzip data is damaged ({error})", self.where) from None
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})", self.where) from None
        if len(line) > MAX_LINE_BYTES:
            raise DataError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB", self.where)
        return line

    def _refuse_empty_gzip(self) -> None:
        # gzip.GzipFile takes a file of no bytes for an empty one; it is what a broken copy leaves.
        with reading(self._source.name):
            if self._source.is_gzip and not self._raw.peek(1):
                raise DataError("is an empty file, not gzip data", self._source.name)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the operating system's refusal into a `DataError` that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise DataError("there is no such file", name) from None
    except PermissionError:
        raise DataError("no permission to read it", name) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", name) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
