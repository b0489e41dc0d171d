"""Snapshots of collections: files of `export_index` in ``data_dir``, and the way back.

    data_dir/.snapshots/COLLECTION/NAME.tar    one commit of the collection
    data_dir/.snapshots/COLLECTION/NAME.json   what the list tells of it

The second is written last and removed first: a snapshot without it does not exist. Snapshots stay when
their collection is deleted, so that it can be restored.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from retrieval import Engine, export_index, import_index, inspect_index
from retrieval.copies import move_index
from retrieval.errors import IndexLockedError, RetrievalError
from retrieval.storage import Catalog
from retrieval.storage.files import make_folder, sync_folder
from server.collections.folders import CATALOG, DataFolder
from server.collections.lifecycle import check_loaded, check_name, check_unserved, incarnation, opener_of
from server.collections.refusals import refusing
from server.context import AppContext
from server.http.problems import ProblemError
from server.schemas.collections import SnapshotItem
from server.settings import COLLECTION_NAME
from server.tasks.control import TaskControl
from server.tasks.manager import TaskWork

__all__ = ["Snapshots", "check_target", "new_name", "restoring", "snapshotting"]

FOLDER = ".snapshots"
ATTEMPTS = 60
PAUSE_SECONDS = 0.5

Progress = Callable[[int, int], None]


class Snapshots:
    """Those of one collection, which need not be there any more."""

    def __init__(self, data: DataFolder, collection: str) -> None:
        self._collection = collection
        self._folder = data.root / FOLDER / collection
        named = re.fullmatch(COLLECTION_NAME, collection)
        self._is_ours = named and self._folder.resolve() == data.root.resolve() / FOLDER / collection

    def all(self) -> list[SnapshotItem]:
        """By name."""
        found = sorted(self._folder.glob("*.json")) if self._is_ours else []
        return [item for item in map(_read, found) if item is not None]

    def get(self, name: str) -> tuple[SnapshotItem, Path]:
        """What is told of a snapshot, and its file.

        Raises:
            ProblemError: 404 unknown_snapshot.
        """
        if self._is_ours and re.fullmatch(COLLECTION_NAME, name):
            item, file = _read(self._folder / f"{name}.json"), self._folder / f"{name}.tar"
            if item is not None and file.is_file():
                return item, file
        told = f"collection '{self._collection}' has no snapshot '{name[:64]}'"
        raise ProblemError(404, "unknown_snapshot", told)

    def check_free(self, name: str) -> None:
        """Refuse a name that is taken.

        Raises:
            ProblemError: 409 snapshot_exists.
        """
        if (self._folder / f"{name}.json").exists():
            told = f"collection '{self._collection}' has a snapshot '{name}' already; choose another name"
            raise ProblemError(409, "snapshot_exists", told)

    def make(self, engine: Engine, name: str, progress: Progress) -> SnapshotItem:
        """Write the last commit of an index, while others read and write.

        Raises:
            ProblemError: 409 snapshot_exists.
            RetrievalError: it cannot be read, or written.
        """
        self.check_free(name)
        make_folder(self._folder)
        file = self._folder / f"{name}.tar"
        file.unlink(missing_ok=True)  # what a killed server left
        report = export_index(engine.path, file, progress)
        item = SnapshotItem(
            name=name,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            bytes=file.stat().st_size,
            documents=_documents(file),
            generation=report.generation,
        )
        _write(self._folder / f"{name}.json", item)
        return item

    def delete(self, name: str) -> None:
        """Remove one; what is reading its file goes on.

        Raises:
            ProblemError: 404 unknown_snapshot.
        """
        _, file = self.get(name)
        file.with_suffix(".json").unlink(missing_ok=True)
        sync_folder(self._folder)
        file.unlink(missing_ok=True)


def new_name(generation: int) -> str:
    """A name by time and generation: ``20260131t120000-123456-g7``."""
    return f"{datetime.now(UTC):%Y%m%dt%H%M%S-%f}-g{generation}"


def snapshotting(context: AppContext, collection: str, name: str) -> TaskWork:
    """The work that makes a snapshot."""

    def work(control: TaskControl) -> dict[str, object]:
        snapshots = Snapshots(DataFolder(context.settings), collection)
        with context.registry.lease(collection) as engine:
            made = snapshots.make(engine, name, _told(control, "write"))
        return made.model_dump()

    return work


def restoring(context: AppContext, collection: str, name: str, target: str) -> TaskWork:
    """The work that makes of a snapshot the collection ``target``, in place of the one that has its name if
    that is ``collection``. What is served goes on being served until the new one is open."""

    def work(control: TaskControl) -> dict[str, object]:
        data = DataFolder(context.settings)
        _, file = Snapshots(data, collection).get(name)
        staged = data.staging()
        try:
            report = import_index(file, staged, _told(control, "unpack"))
            control.tell(stage="open")
            with refusing():
                opener_of(context).open_asked(target, staged).close()  # before anything is replaced
            documents = inspect_index(staged).documents
            with context.registry.changing(target):
                check_target(context, collection, target)
                path = data.own(target)
                _put(staged, path, control, lambda: _look(context, target))
                _serve(context, target, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return {"collection": target, "documents": documents, "generation": report.generation}

    return work


def check_target(context: AppContext, collection: str, target: str) -> None:
    """Whether a snapshot of ``collection`` may become ``target``.

    Raises:
        ProblemError: 409 is_alias, collection_fixed, collection_exists, name_taken, no_data_dir; 503 loading.
    """
    check_name(context, target)
    DataFolder(context.settings).own(target)
    check_loaded(context, target)
    if context.registry.get(target) is None:
        check_unserved(context, target)
    elif target != collection:
        told = f"there is a collection '{target}'; delete it first, or restore to another name"
        raise ProblemError(409, "collection_exists", told)


def _look(context: AppContext, collection: str) -> None:
    """Let what is served see its last commit: after it is replaced it could not any more."""
    with suppress(ProblemError, RetrievalError), context.registry.lease(collection) as engine:
        len(engine)


def _put(staged: Path, path: Path, control: TaskControl, ready: Callable[[], object]) -> None:
    """Rename into place; upkeep or another process that is writing there is waited for."""
    for attempt in range(ATTEMPTS):
        control.check()
        try:
            move_index(staged, path, replace=True, ready=ready)
        except IndexLockedError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _serve(context: AppContext, name: str, path: Path) -> None:
    """Serve what has come to ``path``. If it cannot be, neither is what was there before: its files have
    gone."""
    try:
        incarnation(context, name, path, anew=True)
        context.registry.add(name, path, opener_of(context).open_asked(name, path))
    except Exception as error:
        context.registry.fail(name, path, error)
        raise


def _told(control: TaskControl, stage: str) -> Progress:
    return lambda done, total: control.tell(stage=stage, fraction=done / max(total, 1))


def _documents(file: Path) -> int:
    """As the exported catalog counts them: the collection may have changed since."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".") as folder, tarfile.open(file) as archive:
        archive.extract(CATALOG, folder, filter="data")
        with Catalog.open(Path(folder)) as catalog:
            return catalog.register.count()


def _read(path: Path) -> SnapshotItem | None:
    try:
        return SnapshotItem.model_validate_json(path.read_bytes())
    except (OSError, ValueError):  # just deleted, or none of ours
        return None


def _write(path: Path, item: SnapshotItem) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(item.model_dump(), file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_folder(path.parent)
