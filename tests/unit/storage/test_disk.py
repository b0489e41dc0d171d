"""Files of an index: what errors of the system tell, and that removing stays inside."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from retrieval import Document, Engine
from retrieval.errors import IndexDamagedError, IndexFolderError
from retrieval.storage import Catalog, clear_leftovers, disk
from retrieval.storage.files import HashingFile, make_folder, remove
from tests.encoders import HashingDense


def test_a_missing_file_is_damage_and_any_other_error_is_not(tmp_path: Path) -> None:
    with pytest.raises(IndexDamagedError, match="missing"), disk.telling("read", tmp_path / "x"):
        disk.open_file(tmp_path / "x")
    told = pytest.raises(IndexFolderError, match=r"cannot read .*Is a directory; .* try again")
    with told as caught, disk.telling("read", tmp_path):
        disk.open_file(tmp_path)
    assert not isinstance(caught.value, IndexDamagedError)


def test_remove_takes_a_tree_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_text("x")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path / "tree")
    remove(tmp_path / "nothing")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["kept", "file"]


def test_each_new_folder_is_synced_before_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Path]] = []
    for name in ("mkdir", "sync_folder"):
        real = getattr(disk, name)

        def call(path: Path, name: str = name, real=real) -> None:  # type: ignore[no-untyped-def]
            calls.append((name, path))
            real(path)

        monkeypatch.setattr(disk, name, call)
    make_folder(tmp_path / "a" / "b")
    # The parent of the first that is there: whoever made that may have died before this.
    assert calls == [
        ("sync_folder", tmp_path.parent),
        ("mkdir", tmp_path / "a"),
        ("sync_folder", tmp_path),
        ("mkdir", tmp_path / "a" / "b"),
        ("sync_folder", tmp_path / "a"),
    ]


def test_a_write_that_fails_is_told_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    with HashingFile(tmp_path, "codes.bin") as file:
        monkeypatch.setattr(disk, "write", full)
        with pytest.raises(IndexFolderError, match=r"cannot write .*codes\.bin: No space left .* make room"):
            file.write(b"123")


def test_leftovers_go_only_after_something_was_written_to_the_log(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", [Document("a", "alpha")], HashingDense())
    with Catalog.open(tmp_path / "i", write=True) as catalog:
        generation, log = catalog.generation(), tmp_path / "i" / "catalog.sqlite-wal"
        clear_leftovers(tmp_path / "i", catalog)
        assert not log.exists() or not log.stat().st_size
        (tmp_path / "i" / "segments" / "00000077").mkdir()
        clear_leftovers(tmp_path / "i", catalog)
        assert log.stat().st_size > 4096, "a page went to the log"
        assert catalog.generation() == generation and not catalog.problems()
        assert [path.name for path in (tmp_path / "i" / "segments").iterdir()] == ["00000001"]


def test_a_disk_error_of_sqlite_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Engine.build(tmp_path / "i", [Document("a", "alpha")], HashingDense())
    with Catalog.open(tmp_path / "i") as catalog:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        told = catalog._unreadable(error)
    assert type(told) is IndexFolderError and "try again" in str(told)
