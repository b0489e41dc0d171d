"""The only place that writes, maps or hashes files of an index.

A file is written once, fsynced together with its folder, and registered in the catalog with its
size and SHA-256; until then it does not exist for any reader.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError, IndexFolderError
from retrieval.storage import disk

__all__ = [
    "FileRecord",
    "HashingFile",
    "check_numbers",
    "check_size",
    "hash_file",
    "inside",
    "make_folder",
    "map_array",
    "remove",
    "sync_folder",
]

CHUNK = 1 << 20
LARGEST = 1e12
"""No trained number comes near it: vectors are of lengths that float32 can square."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the catalog knows of a file. ``path`` is relative to the index; raw arrays have a
    ``dtype`` and a ``shape``."""

    name: str
    path: str
    bytes: int
    sha256: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    def as_json(self) -> list[Any]:
        """As a JSON value."""
        return [self.name, self.path, self.bytes, self.sha256, self.dtype, self.shape]

    @classmethod
    def from_json(cls, value: list[Any]) -> Self:
        """The inverse of `as_json`."""
        name, path, size, sha256, dtype, shape = value
        return cls(name, path, size, sha256, dtype, None if shape is None else tuple(shape))


class HashingFile:
    """A new file that hashes what is written; `finish` makes it durable.

    It has enough of the file protocol (``write``, ``tell``, ``flush``, ``closed``) for Arrow.
    """

    def __init__(self, root: Path, relative: str) -> None:
        self._relative = relative
        self._path = root / relative
        with disk.telling("create", self._path):
            self._file: BinaryIO = disk.create(self._path)
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: Any) -> int:
        """Append bytes (anything with the buffer protocol)."""
        with disk.telling("write", self._path):
            disk.write(self._file, data)
        self._hash.update(data)
        size = memoryview(data).nbytes
        self._bytes += size
        return size

    def write_array(self, array: NDArray[Any]) -> None:
        """Append an array's values, row by row, little-endian."""
        if array.size:
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            self.write(np.ascontiguousarray(little).data.cast("B"))

    def tell(self) -> int:
        """Bytes written so far."""
        return self._bytes

    def flush(self) -> None:
        """Hand buffered bytes to the operating system."""
        with disk.telling("write", self._path):
            self._file.flush()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def finish(self, name: str, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> FileRecord:
        """Flush, fsync, close, and describe the file for the catalog."""
        with disk.telling("write", self._path):
            disk.sync(self._file)
            self._file.close()
        return FileRecord(name, self._relative, self._bytes, self._hash.hexdigest(), dtype, shape)

    def close(self) -> None:
        """Close without making anything durable."""
        with suppress(OSError):  # what is still buffered may not fit on the disk
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_folder(path: Path) -> None:
    """Create a folder (and its parents) that survives a power loss."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    # The last that exists may have been made by a process that died before its name was durable.
    there = missing[-1].parent if missing else path
    with suppress(IndexFolderError):  # a folder of somebody else's that we may not read
        sync_folder(there.parent)
    for folder in reversed(missing):
        with disk.telling("make", folder):
            disk.mkdir(folder)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    with disk.telling("sync", path):
        disk.sync_folder(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it.

    Raises:
        IndexFolderError: something of it remains.
    """
    with disk.telling("remove", path):
        _remove(path)


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        disk.unlink(path)
        return
    for entry in sorted(path.iterdir()):
        _remove(entry)
    disk.rmdir(path)


def inside(root: Path, relative: str) -> Path:
    """A registered path, refused when it leads outside the index folder.

    Raises:
        IndexDamagedError: it does.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise IndexDamagedError(f"the catalog of {root} names the file {relative!r} outside the index")
    return path


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with disk.telling("read", path), disk.open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def map_array(root: Path, record: FileRecord) -> NDArray[Any]:
    """Memory-map a raw array, read-only.

    Raises:
        IndexDamagedError: missing, or not as long and of the shape that the catalog says.
    """
    check_size(root, record)
    if record.dtype is None or record.shape is None:
        raise IndexDamagedError(
            f"the catalog of {root} does not say what {record.path} holds; restore a copy"
        )
    path = inside(root, record.path)
    try:
        dtype = np.dtype(record.dtype).newbyteorder("<")
        if record.bytes == 0:  # an empty file cannot be mapped
            return np.empty(record.shape, dtype=dtype)
        with disk.telling("map", path), disk.map_file(path) as mapped:
            return np.frombuffer(mapped.read_buffer(), dtype=dtype).reshape(record.shape)
    except (TypeError, ValueError) as error:
        raise IndexDamagedError(f"{path} cannot be read ({error}); restore the index from a copy") from None


def check_numbers(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Whether floats are so small that products of them stay numbers.

    Raises:
        ValueError: one is not, or is no number.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and array.size and not float(np.abs(array).max()) <= LARGEST:
            raise ValueError(f"the array {name!r} holds numbers beyond {LARGEST:g}")


def check_size(root: Path, record: FileRecord) -> Path:
    """The path of a registered file after checking that it is there and whole in length."""
    path = inside(root, record.path)
    with disk.telling("read", path):
        size = path.stat().st_size if path.is_file() else None
    if size != record.bytes:
        found = "is missing" if size is None else f"has {size} bytes"
        raise IndexDamagedError(
            f"{path} {found}, committed were {record.bytes}; repair the index, or restore it from a copy"
        )
    return path
