"""Text files line by line, with the place of each line for error messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retrieval.corpus.source import LineReader, Source
from retrieval.errors import DataError

__all__ = ["numbered_lines"]


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``("file:line", text)`` of every line that is not blank, without its line end.

    Plain or gzip (by the ``.gz`` ending), UTF-8 with or without a byte order mark.

    Raises:
        DataError: the file cannot be read, is damaged, or a line is not UTF-8.
    """
    with LineReader(Source(path, str(path))) as reader:
        for raw in reader:
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                told = f"not UTF-8 (byte 0x{raw[error.start]:02x}); convert the file to UTF-8"
                raise DataError(told, reader.where) from None
            if line.strip():
                yield reader.where, line
