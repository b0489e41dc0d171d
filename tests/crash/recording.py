"""A log of everything that an engine asks the disk for, with the commits of SQLite between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from retrieval.storage import Catalog, disk
from retrieval.storage.database import Database
from tests.crash.stored import Content, contents

CATALOG = "catalog.sqlite"


@dataclass(frozen=True)
class Event:
    """One call: ``verb`` create, write, sync, sync_folder, mkdir, rename, unlink or rmdir; or the mark
    ``commit`` (SQLite's COMMIT begins), ``committed`` (it returned) or ``done`` (an operation returned)."""

    verb: str
    path: Path
    target: Path | None = None
    content: bytes = b""
    files: dict[str, bytes] | None = None
    """Of ``commit`` and ``committed``: the catalog's files."""
    expected: Content | None = None
    """Of ``committed``: what the index holds. Of ``done``: what it must hold whatever happens."""


class Recorder:
    """Collects events; ``root`` is the folder in which everything happens."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[Event] = []

    def log(self, verb: str, path: Path, **more: Any) -> None:
        self.events.append(Event(verb, path, **more))

    def done(self, index: Path, expected: Content) -> None:
        """An operation has been acknowledged."""
        self.log("done", index, expected=dict(expected))

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put recording functions in the place of the engine's."""
        with pytest.MonkeyPatch.context() as patch:
            for verb in ("sync_folder", "mkdir", "unlink", "rmdir"):
                patch.setattr(disk, verb, self._of_path(verb, getattr(disk, verb)))
            for verb in ("create", "write", "sync"):
                patch.setattr(disk, verb, getattr(self, "_" + verb)(getattr(disk, verb)))
            patch.setattr(disk, "rename", self._rename(disk.rename))
            patch.setattr(Database, "committing", self._committing(Database.committing))
            patch.setattr(Catalog, "backup", self._backup(Catalog.backup))
            yield

    def _of_path(self, verb: str, real: Callable[[Path], None]) -> Callable[[Path], None]:
        def call(path: Path) -> None:
            real(path)
            self.log(verb, path)

        return call

    def _create(self, real: Callable[[Path], BinaryIO]) -> Callable[[Path], BinaryIO]:
        def create(path: Path) -> BinaryIO:
            self.log("create", path)
            return real(path)

        return create

    def _write(self, real: Callable[[BinaryIO, Any], None]) -> Callable[[BinaryIO, Any], None]:
        def write(file: BinaryIO, data: Any) -> None:
            real(file, data)
            path, content = Path(file.name), bytes(data)
            if self.events[-1].verb == "write" and self.events[-1].path == path:
                content = self.events.pop().content + content
            self.log("write", path, content=content)

        return write

    def _sync(self, real: Callable[[BinaryIO], None]) -> Callable[[BinaryIO], None]:
        def sync(file: BinaryIO) -> None:
            real(file)
            self.log("sync", Path(file.name), content=Path(file.name).read_bytes())

        return sync

    def _rename(self, real: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def rename(source: Path, target: Path) -> None:
            real(source, target)
            self.log("rename", source, target=target)

        return rename

    def _committing(self, real: Callable[[Database], Any]) -> Callable[[Database], Any]:
        @contextmanager
        def committing(database: Database) -> Iterator[None]:
            with real(database):
                yield
                self.log("commit", database.root, files=_catalog_files(database.root))
            files = _catalog_files(database.root)
            self.log("committed", database.root, files=files, expected=contents(database.root))

        return committing

    def _backup(self, real: Callable[[Catalog, Path], None]) -> Callable[[Catalog, Path], None]:
        def backup(catalog: Catalog, target: Path) -> None:
            real(catalog, target)
            self.log("create", target)
            self.log("write", target, content=target.read_bytes())

        return backup


def _catalog_files(root: Path) -> dict[str, bytes]:
    """What a crash would leave of the catalog: its shared memory is made anew."""
    return {path.name: path.read_bytes() for path in root.glob(CATALOG + "*") if "-shm" not in path.name}
