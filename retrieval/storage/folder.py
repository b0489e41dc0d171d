"""The index folder as a whole: what may lie in it, and clearing what no commit names."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.lock import HOLDER, LOCK, MERGE_LOCK, merge_lock
from retrieval.storage.segment import SEGMENTS

__all__ = ["clear_folder", "is_index_folder", "open_catalog", "remove_segments"]

# The catalog goes last: until it is gone, what remains is an unfinished index, never a broken one.
_OWN = (SEGMENTS, CATALOG + "-journal", CATALOG + "-shm", CATALOG + "-wal", CATALOG)


def is_index_folder(root: Path) -> bool:
    """Whether ``root`` may be used for an index: absent, empty, or holding nothing but ours.

    Segments without a catalog are not ours: the catalog is made first and removed last.
    """
    if not root.exists():
        return True
    if not root.is_dir():
        return False
    names = {entry.name for entry in root.iterdir()}
    return names <= {*_OWN, HOLDER, LOCK, MERGE_LOCK} and (CATALOG in names or SEGMENTS not in names)


def clear_folder(root: Path, *, lock: bool = False) -> None:
    """Remove the index; the lock too if asked for. The caller holds the lock, and keeps it until
    after this: a waiter notices that the file it locked is gone, and starts again."""
    for name in (*_OWN, HOLDER, MERGE_LOCK, LOCK) if lock else _OWN:
        _remove(root / name)


def open_catalog(root: Path) -> Catalog:
    """The catalog, for the holder of the writer lock, after removing what an interrupted writer
    left behind: segment folders that no commit names and that no merge is writing now."""
    catalog = Catalog.open(root, write=True)
    try:
        with merge_lock(root) as free:
            if free:
                named = {f"{number:08d}" for number in catalog.segment_numbers()}
                for entry in sorted((root / SEGMENTS).glob("*")):
                    if entry.name not in named:
                        _remove(entry)
    except BaseException:
        catalog.close()
        raise
    return catalog


def remove_segments(root: Path, numbers: Iterable[int]) -> None:
    """Unlink segments that no commit names any more; a reader that has them mapped keeps them."""
    for number in numbers:
        _remove(root / SEGMENTS / f"{number:08d}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # what remains, the next writer removes
    else:
        path.unlink(missing_ok=True)
