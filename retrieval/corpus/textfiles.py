"""A folder of text files: a file is a document, its path in the folder is the id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from retrieval.corpus.document import FieldNames
from retrieval.corpus.source import MAX_LINE_BYTES, Progress, Rows, Source, reading
from retrieval.errors import DataError

__all__ = ["TEXT_SUFFIXES", "find_text_files", "read_text_file"]

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".text")


def find_text_files(folder: Path) -> tuple[str, ...]:
    """Relative paths (with ``/``) of text files below ``folder``, sorted; hidden ones left out.

    Links to folders are not followed, so that a link cannot make a loop; one that leads
    outside is listed, and refused when it is read, rather than left out in silence.

    Raises:
        DataError: a folder that cannot be listed.
    """
    return tuple(sorted(path.relative_to(folder).as_posix() for path in _walk(folder)))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith(".") or not name.lower().endswith(TEXT_SUFFIXES):
                continue
            path = Path(parent, name)
            if path.is_symlink() or path.is_file():  # a broken link is listed, a pipe is not
                yield path
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and not _leads_inside(path, folder):
                yield path


def read_text_file(source: Source, names: FieldNames, progress: Progress) -> Rows:  # noqa: ARG001
    """Read one file as one document: no title, no metadata."""
    where = source.name.encode(errors="backslashreplace").decode()
    try:
        data = _content(source, where)
        progress.done += len(data)
        yield where, {"id": source.name, "text": _text(data, where)}
    except DataError as error:
        yield where, error


def _content(source: Source, where: str) -> bytes:
    folder = source.path.parents[source.name.count("/")]
    if source.path.is_symlink() and not _leads_inside(source.path, folder):
        raise DataError(
            "is a link that leads outside the folder; copy what it leads to into the folder", where
        )
    if not source.path.is_file():  # opening a pipe would wait forever
        raise DataError("there is no such file", where)
    with reading(where), source.path.open("rb") as raw:
        data = raw.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise DataError(f"the file is longer than {MAX_LINE_BYTES >> 20} MiB; split it", where)
    return data


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("not UTF-8; convert the file to UTF-8", f"{where}:{line}") from None


def _leads_inside(link: Path, folder: Path) -> bool:
    return Path(os.path.realpath(link)).is_relative_to(os.path.realpath(folder))


def _refuse(error: OSError) -> None:
    with reading(str(error.filename)):
        raise error
