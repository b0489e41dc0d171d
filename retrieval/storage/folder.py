"""The index folder as a whole: what may lie in it, and clearing what no commit names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from retrieval.errors import IndexFolderError
from retrieval.storage import disk
from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.files import remove
from retrieval.storage.lock import ADD_LOCK, HOLDER, LOCK, MERGE_LOCK, add_lock, merge_lock
from retrieval.storage.segment import CONVERTED, PROVISIONAL, SEGMENTS
from retrieval.storage.trained import CODECS

__all__ = ["clear_folder", "clear_leftovers", "is_index_folder", "remove_segments"]

# The catalog goes last: until it is gone, what remains is an unfinished index, never a broken one.
_OWN = (SEGMENTS, CODECS, CATALOG + "-journal", CATALOG + "-shm", CATALOG + "-wal", CATALOG)


GONE = ".gone"
"""How the name of a folder ends that only has to be removed yet."""


def is_index_folder(root: Path) -> bool:
    """Whether ``root`` may be used for an index: absent, empty, or holding nothing but ours.

    Segments without a catalog are not ours: the catalog is made first and removed last.
    """
    if not root.exists():
        return True
    if not root.is_dir():
        return False
    with disk.telling("read", root):
        names = {entry.name for entry in root.iterdir()}
    ours = names <= {*_OWN, HOLDER, LOCK, MERGE_LOCK, ADD_LOCK}
    return ours and (CATALOG in names or not names & {SEGMENTS, CODECS})


def clear_folder(root: Path, *, lock: bool = False) -> None:
    """Remove the index; the lock too if asked for. The caller holds the lock, and keeps it until
    after this: a waiter notices that the file it locked is gone, and starts again."""
    for name in (*_OWN, HOLDER, ADD_LOCK, MERGE_LOCK, LOCK) if lock else _OWN:
        remove(root / name)


def clear_leftovers(root: Path, catalog: Catalog) -> None:
    """Remove what an interrupted writer left: folders of segments and codecs that no commit names and
    that no merge and no add is writing now. The caller holds the writer lock."""
    gone: list[Path] = []
    for of_adds, lock in ((False, merge_lock), (True, add_lock)):
        # Only the lock that tells: who held the other, be it for a moment, would turn its next holder away.
        if _leftovers(root, catalog, of_adds):
            with lock(root) as free:
                if free:
                    gone += _set_aside(_leftovers(root, catalog, of_adds), catalog)
    for folder in gone:  # large files take a while, for which no merge and no add should have to wait
        remove(folder)


def _set_aside(found: list[Path], catalog: Catalog) -> list[Path]:
    """Give folders names that nobody writes to."""
    if found:
        # A commit that was cut off may lie whole in SQLite's log, not seen until a recovery
        # after a crash: then it would name what is removed here. This one takes its place.
        catalog.overwrite_log()
    gone = [folder.with_suffix(GONE) for folder in found]
    for folder, aside in zip(found, gone, strict=True):
        if folder != aside:
            remove(aside)  # of the same number, left by a writer that died
            with disk.telling("rename", folder):
                disk.rename(folder, aside)
    return gone


def _is_of_add(folder: Path) -> bool:
    """Whether it is a segment without a number of its own, which no conversion writes."""
    name = folder.name
    return folder.parent.name == SEGMENTS and name.isdecimal() and PROVISIONAL <= int(name) < CONVERTED


def _leftovers(root: Path, catalog: Catalog, of_adds: bool) -> list[Path]:
    """Those of adds, or all others."""
    found = []
    for folder, named in ((SEGMENTS, catalog.folders), (CODECS, catalog.codec_folders)):
        if there := _names(root / folder):
            found += [root / folder / name for name in sorted(there - named())]
    return [folder for folder in found if _is_of_add(folder) is of_adds]


def _names(folder: Path) -> set[str]:
    with disk.telling("read", folder):
        # Done at every write: paths of all segments would cost more than their names.
        return set(os.listdir(folder)) if folder.exists() else set()  # noqa: PTH208


def remove_segments(root: Path, numbers: Iterable[int]) -> None:
    """Unlink segments that no commit names any more; a reader that has them mapped keeps them."""
    for number in numbers:
        with suppress(IndexFolderError):  # what remains, the next writer removes
            remove(root / SEGMENTS / f"{number:08d}")
