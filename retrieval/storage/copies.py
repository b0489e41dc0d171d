"""Copies of an index: made of one generation while writers go on, checked on the way, and there
whole or not at all.

Bytes are read, hashed and written, not cloned or linked: so the copy is known to be right, and
shares no block with the original that could fail for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import IndexExistsError, IndexFolderError, IndexLockedError, IndexNotFoundError
from retrieval.storage import disk
from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.connection import connect
from retrieval.storage.files import HashingFile, make_folder, remove, sync_folder
from retrieval.storage.folder import is_index_folder
from retrieval.storage.lock import add_lock, merge_lock, writer_lock
from retrieval.storage.partial import check_apart, preparing, publish, sync_file
from retrieval.storage.pinned import Meter, Pinned, damaged, with_pinned

__all__ = [
    "CopyReport",
    "Progress",
    "check_free",
    "make_writable",
    "move_index",
    "recover_index",
    "restore_index",
    "snapshot_index",
]

Progress = Callable[[int, int], None]
"""``progress(bytes_done, bytes_total)``"""


@dataclass(frozen=True)
class CopyReport:
    """A finished copy: of which generation, and how many files and bytes, the catalog included."""

    path: str
    generation: int
    files: int
    bytes: int


def snapshot_index(source: Path, target: Path, progress: Progress | None = None) -> CopyReport:
    """Copy the last committed generation of ``source`` to the new folder ``target``.

    Raises:
        IndexExistsError: ``target`` is there and not an empty folder.
        IndexNotFoundError, IndexFormatError, IndexDamagedError: of ``source``.
        IndexFolderError: it cannot be read or written.
    """
    source, target = source.resolve(), target.resolve()
    check_apart(source, target)
    with preparing(source, target) as folder:
        check_free(target)
        report = _copy(source, folder, target, progress)
        publish(folder, target)
    return report


def restore_index(
    snapshot: Path, target: Path, *, replace: bool = False, progress: Progress | None = None
) -> CopyReport:
    """Make ``target`` an index like ``snapshot``; with ``replace``, in the place of the one there.

    The index that is replaced is locked for writing from the beginning, and readers that have it
    open keep it. After a kill between the two renames that replace it, it is in the folder
    ``.NAME.replaced``, and the next ``replace`` takes it from there.

    Raises:
        IndexExistsError: ``target`` is there, and is not to be replaced or no index.
        IndexLockedError: another process is writing to ``target``.
        IndexNotFoundError, IndexFormatError, IndexDamagedError: of ``snapshot``.
        IndexFolderError: it cannot be read or written.
    """
    snapshot, target = snapshot.resolve(), target.resolve()
    check_apart(snapshot, target)
    _check_source(snapshot)
    with preparing(snapshot, target) as folder, _place(target, replace) as put:
        report = _copy(snapshot, folder, target, progress)
        make_writable(folder)
        put(folder)
    return report


def move_index(
    source: Path, target: Path, *, replace: bool = False, ready: Callable[[], object] = lambda: None
) -> None:
    """Rename the index ``source`` to ``target``, on the same file system; with ``replace`` it takes the
    place of the index there, as `restore_index` does. ``ready`` is called before that, when nobody can
    write to ``target`` any more.

    Raises:
        IndexExistsError, IndexLockedError: of ``target``, as `restore_index`.
        IndexNotFoundError: ``source`` is no index.
        IndexFolderError: it cannot be renamed.
    """
    source, target = source.resolve(), target.resolve()
    check_apart(source, target)
    _check_source(source)
    with disk.telling("rename", source), _place(target, replace) as put:
        ready()
        put(source)


def recover_index(target: Path) -> None:
    """After a kill between the two renames of a replacement: put the index back that was there before.

    Raises:
        IndexFolderError: it cannot be renamed, or what is left of it not removed.
    """
    aside = _aside(target)
    if aside.exists():
        with disk.telling("rename", aside):
            _recover(aside, target)


def _check_source(snapshot: Path) -> None:
    try:
        Catalog.check_present(snapshot)
    except IndexNotFoundError:  # which advises to build one
        told = f"no index at {snapshot} to restore from"
        raise IndexNotFoundError(f"{told}; give a folder that snapshot made") from None


def check_free(target: Path) -> None:
    """Refuse a target that is there already; an empty folder is not.

    Raises:
        IndexExistsError
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise IndexExistsError(f"{target} exists already; choose another path")


def make_writable(folder: Path) -> None:
    """Turn the catalog of a copy into that of a living index, whose readers and writers never wait
    for each other; a copy needs no log beside it, so that it can be read from a read-only medium."""
    connect(folder / CATALOG, "rw").close()
    sync_file(folder / CATALOG)
    sync_folder(folder)


def _copy(source: Path, folder: Path, target: Path, progress: Progress | None) -> CopyReport:
    def copy(pinned: Pinned) -> CopyReport:
        meter = Meter(progress, pinned.bytes)
        meter.add(pinned.catalog.stat().st_size)
        for record in pinned.files:
            make_folder((folder / record.path).parent)
            with HashingFile(folder, record.path) as file:
                for piece in pinned.read(record):
                    meter.add(file.write(piece))
                if file.finish(record.name).sha256 != record.sha256:
                    raise damaged(source / record.path)
        sync_file(pinned.catalog)
        for parent in {(folder / record.path).parent for record in pinned.files} | {folder}:
            sync_folder(parent)
        return CopyReport(str(target), pinned.generation, len(pinned.files) + 1, pinned.bytes)

    return with_pinned(source, folder, copy)


@contextmanager
def _place(target: Path, replace: bool) -> Iterator[Callable[[Path], None]]:
    """A function that puts a prepared folder at ``target``, which is locked until then."""
    aside = _aside(target)
    if replace and aside.exists():
        _recover(aside, target)
    if not replace and (target / CATALOG).exists():
        raise IndexExistsError(
            f"{target} exists already; choose another path, or give --replace (in Python: replace=True)"
        )
    if not replace or not target.exists():
        check_free(target)
        yield lambda folder: publish(folder, target)
        return
    if not is_index_folder(target):
        raise IndexExistsError(f"{target} exists and is not an index; choose another path")
    # A merge and an add write without the writer lock, and would clear up in the index that comes.
    with writer_lock(target), merge_lock(target) as merges, add_lock(target) as adds:
        if not (merges and adds):
            doing = "added to" if merges else "merged"
            raise IndexLockedError(f"{target} is being {doing} by another process; try again later")
        yield lambda folder: _swap(folder, target, aside)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _recover(aside: Path, target: Path) -> None:
    """Finish, or undo, what a killed `_swap` left."""
    if (target / CATALOG).exists():
        remove(aside)
    else:
        publish(aside, target)


def _swap(folder: Path, target: Path, aside: Path) -> None:
    disk.rename(target, aside)
    try:
        publish(folder, target)
    except BaseException:
        if not target.exists():
            disk.rename(aside, target)
        raise
    # Before the lock goes: a writer that waits for it notices that its file is gone, and starts again.
    with suppress(IndexFolderError):  # what remains, the next one removes
        remove(aside)
