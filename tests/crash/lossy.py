"""A model of a disk that loses power: which states a log of calls may leave behind.

Only this is sure: bytes of a file that was synced, names in a folder that was synced, commits that
SQLite acknowledged. What came later may be there, or not, or in part, each name and file by itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.recording import Event


@dataclass(eq=False)
class File:
    """``content`` as a reader sees it, and what of it is durable."""

    content: bytes = b""
    durable: bytes = b""

    def after_loss(self, rng: random.Random) -> bytes:
        """All, none, a part, zeros for a part, or blocks missing, of what was not synced."""
        start = len(self.durable)
        fresh = self.content[start:]
        cut = rng.randint(0, len(fresh))
        blocks = [
            fresh[i : i + 512] if rng.random() < 0.5 else bytes(len(fresh[i : i + 512]))
            for i in range(0, len(fresh), 512)
        ]
        zeros = fresh[:cut] + bytes(len(fresh) - cut)
        return self.durable + rng.choice([fresh, b"", fresh[:cut], zeros, b"".join(blocks)])


@dataclass(frozen=True)
class Change:
    """Names of one folder that change together; None for a name that goes."""

    names: dict[str, File | Folder | None]


@dataclass(eq=False)
class Folder:
    """Names as a program sees them, those that are durable, and the changes between."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    catalogs: list[Event] = field(default_factory=list)
    """Commits to the catalog in this folder, begun and made. One that has begun may have been made:
    that is the state after the next event."""

    def change(self, **names: File | Folder | None) -> None:
        _apply(self.names, names)
        self.changes.append(Change(names))

    def sync(self) -> None:
        self.durable, self.changes = dict(self.names), []

    def after_loss(self, rng: random.Random, kept: float) -> dict[str, File | Folder]:
        """Changes are kept one by one; of those that touch the same name, the first ones."""
        found, lost = dict(self.durable), set[str]()
        for change in self.changes:
            if lost & change.names.keys() or rng.random() >= kept:
                lost |= change.names.keys()
            else:
                _apply(found, change.names)
        return found


def _apply(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, entry in change.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry


class Disk:
    """The disk after the first ``n`` events. Everything happens under ``root``, which is durable."""

    def __init__(self, root: Path, events: Sequence[Event]) -> None:
        self._root, self._top = root, Folder()
        for event in events:
            getattr(self, "_" + event.verb)(event)

    def _folder(self, path: Path) -> Folder:
        if path == self._root:
            return self._top
        parent = self._folder(path.parent)
        entry = parent.names.get(path.name)
        if entry is None:  # made by a call that is not recorded, so not known to be durable
            entry = Folder()
            parent.change(**{path.name: entry})
        assert isinstance(entry, Folder), path
        return entry

    def _file(self, path: Path) -> File | None:
        entry = self._folder(path.parent).names.get(path.name)
        assert not isinstance(entry, Folder), path
        return entry

    def _create(self, event: Event) -> None:
        self._folder(event.path.parent).change(**{event.path.name: File()})

    def _write(self, event: Event) -> None:
        file = self._file(event.path)
        assert file is not None, event.path
        file.content += event.content

    def _sync(self, event: Event) -> None:
        file = self._file(event.path)
        assert file is not None, event.path
        if not event.path.name.endswith(".sqlite"):  # SQLite writes without us
            assert file.content == event.content, event.path
        file.content = file.durable = event.content

    def _sync_folder(self, event: Event) -> None:
        if event.path.is_relative_to(self._root):
            self._folder(event.path).sync()

    def _mkdir(self, event: Event) -> None:
        folder = self._folder(event.path.parent)
        if event.path.name not in folder.names:
            folder.change(**{event.path.name: Folder()})

    def _unlink(self, event: Event) -> None:
        folder = self._folder(event.path.parent)
        if event.path.name in folder.names:
            folder.change(**{event.path.name: None})

    _rmdir = _unlink

    def _rename(self, event: Event) -> None:
        assert event.target is not None
        source, target = self._folder(event.path.parent), self._folder(event.target.parent)
        entry = source.names[event.path.name]
        if source is target:
            source.change(**{event.path.name: None, event.target.name: entry})
        else:
            target.change(**{event.target.name: entry})
            source.change(**{event.path.name: None})

    def _commit(self, event: Event) -> None:
        self._folder(event.path).catalogs.append(event)

    _committed = _commit

    def _done(self, event: Event) -> None:
        """Nothing happens on the disk."""

    def lay_out(self, target: Path, rng: random.Random) -> dict[Path, Event | None]:
        """Write one state that may be left to an empty folder. Gives its folders, by their paths under
        ``target``, each with the last commit to a catalog in it; None where there was none."""
        commits: dict[Path, Event | None] = {}
        self._lay_out(self._top, target, rng, rng.choice([0.0, 0.2, 0.5, 0.8, 1.0]), commits)
        return commits

    def _lay_out(
        self,
        folder: Folder,
        target: Path,
        rng: random.Random,
        kept: float,
        commits: dict[Path, Event | None],
    ) -> None:
        for name, entry in folder.after_loss(rng, kept).items():
            if isinstance(entry, File):
                (target / name).write_bytes(entry.after_loss(rng))
            else:
                (target / name).mkdir()
                self._lay_out(entry, target / name, rng, kept, commits)
        made = [event for event in folder.catalogs if event.verb == "committed"]
        commits[target] = made[-1] if made else None
        if folder.catalogs:
            files = folder.catalogs[-1].files or {}
            for name, content in files.items():
                (target / name).write_bytes(content)
