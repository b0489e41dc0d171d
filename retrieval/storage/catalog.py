"""`catalog.sqlite`: the one commit point. What it does not name does not exist.

WAL with ``synchronous=FULL``: a committed transaction survives a power loss, readers never wait,
and each read transaction sees one generation.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from operator import index
from pathlib import Path, PurePosixPath
from typing import Any, Self

from retrieval.errors import IndexDamagedError, IndexFormatError, IndexNotFoundError
from retrieval.storage.connection import CATALOG, connect
from retrieval.storage.files import FileRecord
from retrieval.storage.records import BuiltPart, CodecRecord, SegmentRecord
from retrieval.storage.register import Register
from retrieval.storage.schema import (
    FORMAT_VERSION,
    KNOWN_FEATURES,
    TABLES,
    expected_columns,
    odd_values,
    statements,
    table_columns,
    upgrade,
)
from retrieval.storage.settings import Settings, checksum_of

__all__ = ["CATALOG", "Catalog", "Session", "has_catalog"]

HISTORY = 1000
"""Commits that are remembered, beside those that segments and pending documents came with."""


def has_catalog(root: Path) -> bool:
    """Whether a committed catalog is there; a killed creation leaves none."""
    if not (root / CATALOG).is_file():
        return False
    try:
        with Catalog.open(root):
            return True
    except IndexNotFoundError:
        return False


class Catalog(Settings):
    """An index's catalog: commits, settings, codecs, segments and their files.

    ``register`` knows the documents: where each is, which are pending, which are deleted.
    """

    @property
    def register(self) -> Register:
        """Where documents are."""
        return Register(self)

    @classmethod
    def create(cls, root: Path, codec: CodecRecord, meta: Mapping[str, Any]) -> Self:
        """Write a new catalog in one transaction."""
        catalog = cls(root, connect(root / CATALOG, "rwc"))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        required = {
            "format_version": FORMAT_VERSION,
            "required_features": [],
            "created_at": created,
            "identity": uuid.uuid4().hex,
            "next_number": 1,
        }
        with catalog.committing():
            for statement in statements(TABLES):
                catalog.execute(statement)
            catalog.insert("commits", (1, "create", created))
            catalog.add_codec(codec)
            for key, value in {**required, **meta}.items():
                catalog.set_meta(key, value)
            catalog._seal()
        return catalog

    @classmethod
    def open(cls, root: Path, *, write: bool = False) -> Self:
        """Open and check the version; for writing, an older format is upgraded.

        Raises:
            IndexNotFoundError: no catalog, or its creation never finished.
            IndexFormatError: a newer version, or a required feature this code does not know.
            IndexDamagedError: SQLite cannot read it.
        """
        cls.check_present(root)
        catalog = cls(root, connect(root / CATALOG, "rw" if write else "ro"))
        try:
            version = catalog._check_format()
            if write and version < FORMAT_VERSION:
                catalog._upgrade(version)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def check_present(cls, root: Path) -> None:
        """Whether the file is there.

        Raises:
            IndexNotFoundError, IndexDamagedError: no index, or one that lost its catalog.
        """
        path = root / CATALOG
        if root.is_file():
            raise IndexNotFoundError(f"{root} is a file, not an index; an index is a folder that build made")
        if not path.is_file() and (root / "segments").exists():
            raise IndexDamagedError(
                f"{path} is missing, but segments are there; restore the index from a copy"
            )
        if not path.is_file():
            raise IndexNotFoundError(f"no index at {root}; build one with: retrieval build SOURCE {root}")

    def _check_format(self) -> int:
        tables = {row[0] for row in self.rows("SELECT name FROM sqlite_master")}
        if tables and "meta" not in tables:  # creation is one transaction: all tables or none
            raise IndexDamagedError(
                f"{self.root / CATALOG} is a database, but no catalog; choose another path"
            )
        if not tables:
            raise IndexNotFoundError(f"no index at {self.root}: its creation was interrupted")
        version, features = self.meta("format_version"), self.meta("required_features")
        with self.decoding("the format"):
            version, features = int(version), set(features)
        if version > FORMAT_VERSION:
            raise IndexFormatError(
                f"the index at {self.root} has format {version}, this version reads {FORMAT_VERSION}; upgrade"
            )
        unknown = sorted(features - KNOWN_FEATURES)
        if unknown:
            raise IndexFormatError(
                f"the index at {self.root} needs {', '.join(unknown)}, unknown here; upgrade"
            )
        return int(version)

    def _upgrade(self, version: int) -> None:
        numbers = self.rows("SELECT max(segment) FROM segments")
        with self.transaction("upgrade"):
            upgrade(self._connection, version)
            self.set_meta("next_number", (numbers[0][0] or 0) + 1)
            self.set_meta("format_version", FORMAT_VERSION)

    @property
    def format_version(self) -> int:
        """What the tables are now; a writer may upgrade them while a reader has them open."""
        return int(self.meta("format_version"))

    # -- commits ------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, operation: str) -> Iterator[int]:
        """One commit, or nothing; gives the new generation. ``operation`` is kept in the history."""
        with self.committing():
            generation = self.generation() + 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.insert("commits", (generation, operation, now))
            if generation % HISTORY == 0:
                self._forget(generation - HISTORY)
            yield generation
            self._seal()

    def overwrite_log(self) -> None:
        """Commit something that changes nothing: it takes the place, in SQLite's log, of any commit
        that was cut off."""
        with self.committing():
            self.insert("commits", (self.generation() + 1, "", ""))
            self.execute("DELETE FROM commits WHERE operation = ''")

    def _forget(self, generation: int) -> None:
        used = "SELECT generation FROM segments UNION SELECT generation FROM pending"
        self.execute(
            f"DELETE FROM commits WHERE generation < ? AND generation NOT IN ({used})", (generation,)
        )

    def _seal(self) -> None:
        self.set_meta("checksum", self._meta_checksum())

    def generation(self) -> int:
        """Number of the last commit."""
        self._reopen_if_changed()
        found = self.rows("SELECT max(generation) FROM commits")[0][0]
        if isinstance(found, int):  # every search asks: a context takes as long as SQLite's answer
            return found
        with self.decoding("the generation"):
            return int(found)

    # -- the build ------------------------------------------------------------------

    def build_state(self) -> dict[str, Any]:
        """Whether the build is ``complete``, and of how many ``segments`` it was (if it was a build)."""
        stored = self.meta("build")
        with self.decoding("the state of the build"):
            return {**stored, "complete": bool(stored["complete"])}

    def built(self) -> list[BuiltPart]:
        """The parts of the source that the build has committed, in order; none if they were merged since."""
        parts = self.build_state().get("parts")
        if parts is None:
            return [BuiltPart.of(segment) for segment in self.segments("build")]
        with self.decoding("the parts of the build"):
            return [BuiltPart(*part) for part in parts]

    def keep_built(self) -> None:
        """Keep `built` in the settings, before the segments of the build are replaced by one with other
        vectors; inside a transaction. Else nobody could say that the same build is complete."""
        state, parts = self.build_state(), self.built()
        if parts and state.get("segments") == len(parts):
            self.set_meta("build", {**state, "parts": [list(part) for part in parts]})

    # -- segments -----------------------------------------------------------------------------

    def segment_numbers(self) -> list[int]:
        """Numbers of all segments, ascending."""
        with self.decoding("the segments"):
            return [index(row[0]) for row in self.rows("SELECT segment FROM segments ORDER BY segment")]

    def folders(self) -> set[str]:
        """Names of segment folders, by the segments and by their files: one damaged row is not to
        make a folder look like something left behind."""
        paths = self.rows("SELECT path FROM files")
        with self.decoding("the files"):
            named = {PurePosixPath(row[0]).parent.name for row in paths}
        return named | {f"{number:08d}" for number in self.segment_numbers()}

    def segments(self, operation: str | None = None) -> list[SegmentRecord]:
        """All segments with their files, by number; or those that one operation committed."""
        if operation is None:
            rows = self.rows("SELECT * FROM segments ORDER BY segment")
        else:
            chosen = "generation IN (SELECT generation FROM commits WHERE operation = ?)"
            rows = self.rows(f"SELECT * FROM segments WHERE {chosen} ORDER BY segment", (operation,))
        return [self._segment(row) for row in rows]

    def segment(self, number: int) -> SegmentRecord | None:
        """One segment, None if there is no such."""
        rows = self.rows("SELECT * FROM segments WHERE segment = ?", (number,))
        return self._segment(rows[0]) if rows else None

    def _segment(self, row: Sequence[Any]) -> SegmentRecord:
        names = "name, path, bytes, sha256, dtype, shape"
        stored = self.rows(f"SELECT {names} FROM files WHERE segment = ? ORDER BY path", (row[0],))
        with self.decoding("a segment"):
            files = [
                FileRecord(name, path, size, sha256, dtype, tuple(json.loads(shape)) if shape else None)
                for name, path, size, sha256, dtype, shape in stored
            ]
            return SegmentRecord.from_row(row, files, self._origins(row[0]))

    def _origins(self, segment: int) -> list[int]:
        if self.format_version < 2:
            return [segment]
        rows = self.rows("SELECT origin FROM origins WHERE segment = ? ORDER BY origin", (segment,))
        return [row[0] for row in rows]

    def add_segment(self, segment: SegmentRecord) -> None:
        """Register a segment, its files and its origins; inside a transaction."""
        self.insert("segments", (*segment.as_row(), segment.checksum))
        for file in segment.files:
            shape = json.dumps(file.shape) if file.shape is not None else None
            row = (file.path, segment.segment, file.name, file.bytes, file.sha256, file.dtype, shape)
            self.insert("files", row)
        for origin in segment.origins:
            self.insert("origins", (origin, segment.segment))

    def remove_segments(self, numbers: Iterable[int]) -> None:
        """Forget segments and their files; inside a transaction."""
        for number in numbers:
            for table in ("origins", "files", "segments"):
                self.execute(f"DELETE FROM {table} WHERE segment = ?", (number,))

    # -- checks -------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What SQLite's own checks and our checksums find wrong with the catalog itself."""
        found = [f"catalog: {row[0]}" for row in self.rows("PRAGMA integrity_check") if row[0] != "ok"]
        found += [
            f"catalog: a row of {row[0]} names what is not there"
            for row in self.rows("PRAGMA foreign_key_check")
        ]
        if self.format_version == FORMAT_VERSION and table_columns(self.rows) != expected_columns():
            found.append("catalog: its tables are not those of its format; restore the index from a copy")
        found += [f"catalog: {odd}; restore the index from a copy" for odd in odd_values(self.rows)]
        if self.meta("checksum") != self._meta_checksum():
            found.append("catalog: its settings are not what was committed; restore the index from a copy")
        return found + self.codec_problems()

    def _meta_checksum(self) -> str:
        return checksum_of(self.rows("SELECT key, value FROM meta WHERE key != 'checksum' ORDER BY key"))


Session = Callable[[float], AbstractContextManager[Catalog]]
"""Gives the catalog to write to, with the writer lock, for which it waits so many seconds."""
