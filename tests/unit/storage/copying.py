"""What the tests of copies share: an index to copy, and how a copy is known to be whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval import Document, Engine, IndexConfig, verify_index
from retrieval.storage import Catalog, SegmentRecord, disk
from retrieval.storage.archive import export_index, import_index
from retrieval.storage.copies import restore_index, snapshot_index
from retrieval.storage.files import FileRecord
from tests.encoders import HashingLate

DOCS = [Document(f"d{i}", f"alpha beta {i}", "title", {"n": i}) for i in range(30)]


def build(path: Path, documents: Iterable[Document] = DOCS, *, resume: bool = False) -> Path:
    config = IndexConfig.of(segment_documents=10)
    Engine.build(path, documents, HashingLate(), config=config, resume=resume)
    return path


def answers(index: Path) -> list[tuple[str, float]]:
    """All documents with their scores, from an index that is whole."""
    assert verify_index(index).problems == ()
    with Engine.open(index, HashingLate()) as engine:
        return [(hit.id, hit.score) for hit in engine.search("alpha 7", k=1000)]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def execute(index: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(index / "catalog.sqlite")
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def forge(index: Path, name: str, change: Callable[[FileRecord], FileRecord]) -> FileRecord:
    """Change what the catalog says of a file of the first segment, with the checksums to match."""
    with Catalog.open(index) as catalog:
        segment: SegmentRecord = catalog.segments()[0]
    old = segment.file(name)
    new = change(old)
    files = tuple(new if file is old else file for file in segment.files)
    values = (new.path, new.bytes, new.sha256, old.path)
    execute(index, "UPDATE files SET path = ?, bytes = ?, sha256 = ? WHERE path = ?", *values)
    checksum = replace(segment, files=files).checksum
    execute(index, "UPDATE segments SET sha256 = ? WHERE segment = ?", checksum, segment.segment)
    return new


def export_then_import(source: Path, target: Path) -> None:
    """A copy by way of an archive, which goes away."""
    archive = target.with_name("archive.tar")
    try:
        export_index(source, archive)
        import_index(archive, target)
    finally:
        archive.unlink(missing_ok=True)


COPYING: dict[str, Callable[[Path, Path], object]] = {
    "snapshot": snapshot_index,
    "restore": restore_index,
    "archive": export_then_import,
}


class Nth:
    """Does something at the n-th call of any of a few functions that write to a disk."""

    PLACES = (
        (os, "fsync"),
        (os, "open"),
        (Path, "open"),
        (Path, "mkdir"),
        (Path, "replace"),
        (disk, "write"),
        (Catalog, "backup"),
    )

    def __init__(self, n: int, act: Callable[[], None]) -> None:
        self.left, self._act = n, act

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for owner, name in self.PLACES:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function: Callable[..., object]) -> Callable[..., object]:
        def counted(*values: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0:
                self._act()
            return function(*values, **named)

        return counted
