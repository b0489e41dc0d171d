"""What a reader derives of a segment's documents and keeps beside them, for the next one to find.

    segments/00000001/derived-NAME.bin     a digest, then arrays (safetensors)

No commit names such a file, so nothing depends on it: copies leave it out, it goes with its segment, and
whoever finds it missing, damaged, or made of other documents or in another way derives it again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from retrieval.errors import IndexFolderError
from retrieval.storage import disk
from retrieval.storage.records import SegmentRecord

__all__ = ["Derived"]

DIGEST = hashlib.sha256().digest_size


class Derived:
    """The files of one segment. ``name`` is a word; ``version`` tells all that decides the arrays, but for
    the documents. Safe to share between threads and processes."""

    def __init__(self, root: Path, record: SegmentRecord) -> None:
        documents = record.file("documents")
        self._folder, self._documents = (root / documents.path).parent, documents.sha256

    def read(self, name: str, version: str) -> dict[str, NDArray[Any]] | None:
        """The arrays that were written; None where there are none, or what is there is not that."""
        path = self._path(name)
        try:
            with disk.telling("read", path), disk.open_file(path) as file:
                digest, content = file.read(DIGEST), file.read()
        except IndexFolderError:
            return None
        if digest != self._digest(version, content):
            return None
        try:
            return load(content)
        except SafetensorError:  # written by a version that knew other types
            return None

    def write(self, name: str, version: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Keep arrays; False where that cannot be: the folder may not be written to, or is gone."""
        content, path = save(dict(arrays)), self._path(name)
        self._clear(path)
        # Whole or not at all for who reads now; not synced, because the digest shows what a crash leaves.
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            with disk.telling("write", partial):
                with disk.create(partial) as file:
                    disk.write(file, self._digest(version, content))
                    disk.write(file, content)
                disk.rename(partial, path)
        except IndexFolderError:
            with suppress(OSError):
                disk.unlink(partial)
            return False
        return True

    def _clear(self, path: Path) -> None:
        """Remove what a killed process left of a file. Where another is just being written, that one is not
        kept, and this one is."""
        with suppress(OSError):
            for partial in self._folder.glob(f"{path.name}.*"):
                disk.unlink(partial)

    def _path(self, name: str) -> Path:
        return self._folder / f"derived-{name}.bin"

    def _digest(self, version: str, content: bytes) -> bytes:
        """Of the bytes and of what they were made of: a folder may have become another index's."""
        digest = hashlib.sha256(f"{self._documents}\n{version}\n".encode())
        digest.update(content)
        return digest.digest()
