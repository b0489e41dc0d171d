"""The system calls on files of an index, one function each, and what their errors tell a person.

Everything that an index writes or maps goes through here, except SQLite and the locks: so tests can
put failing or recording functions in the place of these.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from retrieval.errors import IndexDamagedError, IndexFolderError

__all__ = [
    "create",
    "map_file",
    "mkdir",
    "open_file",
    "rename",
    "rmdir",
    "sync",
    "sync_folder",
    "telling",
    "unlink",
    "write",
]

_ADVICE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EMFILE: "allow the process more open files",
    errno.ENFILE: "allow the system more open files",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "use a disk that can be written",
}


@contextmanager
def telling(doing: str, path: Path) -> Iterator[None]:
    """Turn an error of the system into one that names the file and says what to do.

    Raises:
        IndexDamagedError: the file is missing.
        IndexFolderError: any other error of the system.
    """
    try:
        yield
    except FileNotFoundError:
        raise IndexDamagedError(f"{path} is missing; restore the index from a copy") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        advice = _ADVICE.get(error.errno or 0, "check the disk")
        raise IndexFolderError(f"cannot {doing} {path}: {why}; {advice} and try again") from None


def create(path: Path) -> BinaryIO:
    """Open a file for writing, empty."""
    return path.open("wb")


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading."""
    return path.open("rb")


def write(file: BinaryIO, data: Any) -> None:
    """Append bytes, all of them."""
    file.write(data)


def sync(file: BinaryIO) -> None:
    """Make what was written durable, but not the file's name."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def map_file(path: Path) -> pa.MemoryMappedFile:
    """Map a file for reading. Arrow's mapping holds no file descriptor, Python's holds one: an
    index may have many segments."""
    return pa.memory_map(str(path))


def mkdir(path: Path) -> None:
    """Make a folder, if there is none."""
    path.mkdir(exist_ok=True)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name; a file that has it is replaced."""
    source.replace(target)


def unlink(path: Path) -> None:
    """Remove a file's name, if it is there."""
    path.unlink(missing_ok=True)


def rmdir(path: Path) -> None:
    """Remove an empty folder."""
    path.rmdir()
