"""One writer at a time, by an advisory file lock that the system drops when the process dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.errors import IndexLockedError
from retrieval.storage import disk

__all__ = [
    "ADD_LOCK",
    "HOLDER",
    "LOCK",
    "MERGE_LOCK",
    "WAIT_SECONDS",
    "add_lock",
    "merge_lock",
    "writer_lock",
]

LOCK = "writer.lock"
MERGE_LOCK = "merge.lock"
ADD_LOCK = "add.lock"
HOLDER = "writer.json"
"""Who holds the lock: for the message to the one that is refused, nothing else reads it."""

HOLDER_BYTES = 512
WAIT_SECONDS = 0.5


@contextmanager
def writer_lock(root: Path, patience: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the index's writer lock; ``patience`` is how many seconds to wait for another process.

    Raises:
        IndexLockedError: another process holds it; the message names that process.
    """
    lock = FileLock(root / LOCK, timeout=patience)
    if not _acquire(lock):
        raise IndexLockedError(f"{root} is being written by {_holder(root)}; wait for it or stop it")
    try:
        with suppress(OSError):  # it only helps a message: a full disk must not forbid to delete
            _say_who(root / HOLDER)
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock) -> bool:
    with disk.telling("lock", Path(lock.lock_file)):
        try:
            lock.acquire()
        except Timeout:
            return False
    return True


def _say_who(path: Path) -> None:
    """Overwrite in place: to truncate a file costs some file systems as much as a commit."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, holder.ljust(HOLDER_BYTES).encode(), 0)
    finally:
        os.close(descriptor)


@contextmanager
def merge_lock(root: Path) -> Iterator[bool]:
    """Hold the merge lock, if nobody else does: whoever rewrites segments without keeping writers
    out holds it, so that nobody takes its unfinished files for leftovers. Gives whether it is held."""
    with _held(FileLock(root / MERGE_LOCK, timeout=0)) as held:
        yield held


@contextmanager
def add_lock(root: Path, patience: float = 0) -> Iterator[bool]:
    """Hold the lock of adding many documents, if nobody else does for ``patience`` seconds: who writes
    segments that have no number yet holds it, and a repair, which may drop their codec. Gives whether it is
    held."""
    with _held(FileLock(root / ADD_LOCK, timeout=patience)) as held:
        yield held


@contextmanager
def _held(lock: FileLock) -> Iterator[bool]:
    if not _acquire(lock):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _holder(root: Path) -> str:
    try:
        holder = json.loads((root / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
