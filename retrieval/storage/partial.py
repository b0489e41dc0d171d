"""Something new beside its place: prepared under another name, it appears whole or not at all.

What a killed process left under that name is removed by the next one that prepares the same.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retrieval.errors import IndexExistsError, IndexFolderError, IndexLockedError
from retrieval.storage import disk
from retrieval.storage.files import make_folder, remove, sync_folder

__all__ = ["check_apart", "clear", "preparing", "publish", "sync_file"]

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


def check_apart(source: Path, target: Path) -> None:
    """Refuse a copy into what is copied, or over it; both paths are resolved.

    Raises:
        IndexFolderError: one lies in the other.
    """
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise IndexFolderError(f"{source} and {target} lie in one another; choose another path")


@contextmanager
def preparing(source: Path, target: Path) -> Iterator[Path]:
    """An empty folder beside ``target`` to prepare a copy of ``source`` in. It is gone afterwards,
    and so are the parents of ``target`` that were made for it, unless `publish` put something there.

    Raises:
        IndexLockedError: another process is preparing the same target.
        IndexFolderError: a file cannot be read or written, say because the disk is full.
    """
    folder = target.with_name(f".{target.name}.partial")
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        make_folder(target.parent)
        with _claimed(folder, target):
            clear(folder)
            yield folder
    except OSError as error:
        at = f" ({error.filename})" if error.filename else ""
        told = f"cannot copy {source} to {target}: {error.strerror or error}{at}"
        raise IndexFolderError(f"{told}; check the disk and its permissions, then try again") from None
    except IndexFolderError as error:
        # A person knows the source, which may be damaged, and the target, whose disk may be full,
        # not the folder between them.
        known = target if type(error) is IndexFolderError else source
        raise type(error)(str(error).replace(str(folder), str(known))) from None
    finally:
        with suppress(OSError):  # not empty: the target is in it
            for parent in made:
                parent.rmdir()


def publish(prepared: Path, target: Path) -> None:
    """Give what was prepared its name, durably; an empty folder gives way.

    Raises:
        IndexExistsError: there is something already.
    """
    try:
        disk.rename(prepared, target)
    except OSError as error:
        if error.errno in _TAKEN:
            raise IndexExistsError(f"{target} exists already; choose another path") from None
        raise
    sync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with disk.open_file(path) as file:
        disk.sync(file)


def clear(folder: Path) -> None:
    """Remove everything in a folder."""
    for entry in folder.iterdir():
        remove(entry)


@contextmanager
def _claimed(folder: Path, target: Path) -> Iterator[None]:
    """Make the folder and hold it against other processes; in the end remove it, if it is still there."""
    descriptor = _locked(folder, target)
    try:
        yield
    finally:
        try:
            if _is_at(descriptor, folder):
                shutil.rmtree(folder, ignore_errors=True)  # the next one removes what this leaves
        finally:
            os.close(descriptor)


def _locked(folder: Path, target: Path) -> int:
    """A descriptor of the folder, with a lock that the system drops when the process dies."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except BaseException:
            with suppress(OSError):  # not empty: what a killed process left, for the next one
                folder.rmdir()
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, folder):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise IndexLockedError(f"another process is making {target}; wait for it") from None
        os.close(descriptor)  # the one that held it has renamed or removed it: make another


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
