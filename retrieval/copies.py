"""Copies of an index: snapshots to restore from, and a whole index as one file.

A copy is there whole or not at all, and has been checked against the checksums of the original.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from retrieval.storage import archive, copies
from retrieval.storage.copies import CopyReport

__all__ = [
    "CopyReport",
    "export_index",
    "import_index",
    "move_index",
    "recover_index",
    "restore_index",
    "snapshot_index",
]

_Progress = Callable[[int, int], None] | None


def snapshot_index(path: str | Path, target: str | Path, progress: _Progress = None) -> CopyReport:
    """Copy the last commit of the index at ``path`` to the new folder ``target``, while readers and
    a writer go on. A copy is an index: it can be opened. ``progress(bytes_done, bytes_total)``.

    Raises:
        IndexExistsError: ``target`` is there and not an empty folder.
        IndexLockedError: another process is making ``target``.
        IndexNotFoundError, IndexFormatError, IndexDamagedError: of the index.
        IndexFolderError: a file cannot be read or written, or one path lies in the other.
    """
    return copies.snapshot_index(Path(path), Path(target), progress)


def restore_index(
    snapshot: str | Path, target: str | Path, *, replace: bool = False, progress: _Progress = None
) -> CopyReport:
    """Make ``target`` an index like ``snapshot``, which stays. With ``replace`` it takes the place of
    an index there, once it is whole; engines that have that one open must be opened again.

    Raises:
        IndexExistsError: ``target`` is there, and is not to be replaced or no index.
        IndexLockedError: another process is writing to ``target``, or making it.
        IndexNotFoundError, IndexFormatError, IndexDamagedError: of the snapshot.
        IndexFolderError: a file cannot be read or written, or one path lies in the other.
    """
    return copies.restore_index(Path(snapshot), Path(target), replace=replace, progress=progress)


def export_index(path: str | Path, file: str | Path, progress: _Progress = None) -> CopyReport:
    """Write the last commit of the index at ``path`` to one new file, an uncompressed tar, while
    readers and a writer go on. An index gives the same file until its next commit.

    Raises:
        IndexExistsError: ``file`` is there.
        IndexLockedError: another process is making ``file``.
        IndexNotFoundError, IndexFormatError, IndexDamagedError: of the index.
        IndexFolderError: a file cannot be read or written, or ``file`` lies in the index.
    """
    return archive.export_index(Path(path), Path(file), progress)


def import_index(file: str | Path, target: str | Path, progress: _Progress = None) -> CopyReport:
    """Make ``target`` an index from a file of `export_index`, which need not be trusted: what is not
    exactly a consistent index is refused, and leaves nothing.

    Raises:
        IndexExistsError: ``target`` is there and not an empty folder.
        IndexLockedError: another process is making ``target``.
        IndexNotFoundError: there is no ``file``.
        IndexFormatError: its index is of a newer version.
        IndexDamagedError: it is cut, changed, or no export.
        IndexFolderError: a file cannot be read or written.
    """
    return archive.import_index(Path(file), Path(target), progress)


def move_index(
    source: str | Path,
    target: str | Path,
    *,
    replace: bool = False,
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Rename the index ``source`` to ``target``, on the same file system. With ``replace`` it takes the
    place of the index there; engines that have that one open must be opened again.

    ``ready`` is called before that, when nobody can write to ``target`` any more: an engine that looks at
    it then (``len``) has seen its last commit, and can be searched until it is opened again.

    Raises:
        IndexExistsError: ``target`` is there, and is not to be replaced or no index.
        IndexLockedError: somebody is writing to ``target``.
        IndexNotFoundError: ``source`` is no index.
        IndexFolderError: it cannot be renamed, or one path lies in the other.
    """
    copies.move_index(Path(source), Path(target), replace=replace, ready=ready)


def recover_index(target: str | Path) -> None:
    """After a kill in the midst of a replacement of ``target`` (`restore_index`, `move_index`): put the
    index back that was there before. Without one, nothing is done.

    Raises:
        IndexFolderError: it cannot be put back.
    """
    copies.recover_index(Path(target))
