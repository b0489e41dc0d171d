"""Arrays on disk that come in pieces, several of them at a time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from retrieval.errors import IndexFolderError
from retrieval.storage.files import FileRecord, HashingFile, check_numbers, remove

__all__ = ["ArrayFiles"]


class ArrayFiles:
    """Arrays that are written as their pieces come, several at a time."""

    def __init__(self, root: Path, folder: str) -> None:
        self._root, self._folder = root, folder
        self._files: dict[str, HashingFile] = {}
        self._shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._is_usable = True

    def append(self, name: str, piece: NDArray[Any]) -> None:
        """The next rows of an array."""
        try:
            check_numbers({name: piece})
        except ValueError:  # vectors far longer than those trained on: this segment is scored whole
            self._is_usable = False
        if name not in self._files:
            relative = f"{self._folder}/{name.replace('/', '-')}.bin"
            self._files[name] = HashingFile(self._root, relative)
            self._shapes[name] = piece.dtype.name, (0, *piece.shape[1:])
        dtype, (rows, *rest) = self._shapes[name]
        if piece.dtype.name != dtype or list(piece.shape[1:]) != rest:
            raise AssertionError(f"pieces of {name} differ: {piece.dtype} {piece.shape} after {dtype} {rest}")
        self._files[name].write_array(piece)
        self._shapes[name] = dtype, (rows + len(piece), *rest)

    def finish(self) -> list[FileRecord]:
        """Make them durable; nothing is left where they cannot be used."""
        if not self._is_usable:
            self.abandon()
            return []
        return [file.finish(name, *self._shapes[name]) for name, file in self._files.items()]

    def abandon(self) -> None:
        """Close and remove what was written."""
        for name, file in self._files.items():
            file.close()
            with suppress(IndexFolderError):  # what remains, the next writer removes
                remove(self._root / f"{self._folder}/{name.replace('/', '-')}.bin")
