"""Bodies that a task is to write: on disk before the client hears of the task, and until it has ended."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from server.http.problems import ProblemError

__all__ = ["Spool", "Spooled"]

SPOOL = ".spool"


@dataclass(slots=True)
class Spooled:
    """A file that is removed at the end of `Spool.receiving`, unless somebody wants it kept."""

    file: BinaryIO
    path: Path
    _kept: bool = False
    _gone: bool = False
    _deciding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """What `Spool.reading` finds it by."""
        return self.path.name

    def sync(self) -> None:
        """After this the file survives a power cut. Blocks."""
        self.file.flush()
        os.fsync(self.file.fileno())
        _sync(self.path.parent)  # the file's name

    def keep(self) -> None:
        """Leave it where it is, whatever becomes of the request: before anybody counts on it.

        Raises:
            ProblemError: 400 body_cut_off, the request has ended and the file is gone.
        """
        with self._deciding:
            if self._gone:
                raise ProblemError(400, "body_cut_off", "the request was given up before it was accepted")
            self._kept = True

    def drop(self) -> None:
        """Take `keep` back: nobody counts on it."""
        with self._deciding:
            self._kept = False

    def close(self) -> None:
        """Close it, and remove it unless it is to be kept. Blocks."""
        with self._deciding:
            self._gone = not self._kept
        self.file.close()
        if self._gone:
            self.path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Spool:
    """Files in a folder of ``data_dir`` that is no collection."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / SPOOL

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Spooled]:
        """A new file, to be filled."""
        spooled = await asyncio.to_thread(self._new)
        try:
            yield spooled
        finally:
            await asyncio.to_thread(spooled.close)

    def _new(self) -> Spooled:
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            _sync(self.folder.parent)  # the folder's name
        path = self.folder / uuid.uuid4().hex
        return Spooled(path.open("xb+"), path)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """A file that was kept.

        Raises:
            ProblemError: 410 body_lost, somebody has removed it.
        """
        try:
            file = (self.folder / name).open("rb")
        except FileNotFoundError:
            told = "the documents of this task are not there any more; send them again"
            raise ProblemError(410, "body_lost", told) from None
        with file:
            yield file

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def clear(self, wanted: Collection[str]) -> None:
        """Remove what a killed server left behind: all but the ``wanted`` ones."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
