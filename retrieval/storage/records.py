"""Rows of the catalog as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

from retrieval.errors import IndexDamagedError
from retrieval.storage.files import FileRecord
from retrieval.types import EncoderKind, Metric

__all__ = ["BuiltPart", "CodecRecord", "PendingBatch", "SegmentRecord"]


@dataclass(frozen=True, slots=True)
class CodecRecord:
    """A codec generation: what turns text into stored codes, frozen.

    ``name`` and ``config`` describe the codec of the stored vectors; under keys of its own, ``config``
    also holds the trained search ``pipeline``, the ``files`` of all arrays, the ``recipe`` they were
    made by and the measured ``quality``. ``encoder`` is an EncoderConfig as a dict (None for a
    caller's own class), ``encoder_fingerprint`` what identifies its vectors.
    """

    codec: int
    name: str
    config: dict[str, Any]
    kind: EncoderKind
    metric: Metric
    dim: int
    encoder: dict[str, Any] | None
    encoder_fingerprint: dict[str, Any]

    @property
    def stored(self) -> dict[str, Any]:
        """Configuration of the codec of the stored vectors alone."""
        return {key: value for key, value in self.config.items() if key not in _BESIDE}

    @property
    def pipeline(self) -> dict[str, Any] | None:
        """Configuration of the trained search, None where every stored vector is scored."""
        return self.config.get("pipeline")

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Its arrays."""
        return tuple(FileRecord.from_json(value) for value in self.config.get("files", ()))

    @property
    def recall_target(self) -> float:
        """What searches aim at unless they say otherwise."""
        return float(self.config.get("recipe", {}).get("recall_target", 1.0))

    @property
    def quality(self) -> dict[str, Any] | None:
        """What was measured of the recipe when it was trained."""
        return self.config.get("quality")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides how codes are made and scored."""
        deciding = {key: value for key, value in self.config.items() if key != "quality"}
        parts = [self.name, deciding, self.kind, self.metric, self.dim, self.encoder_fingerprint]
        return hashlib.sha256(_json(parts).encode()).hexdigest()

    def as_row(self) -> tuple[Any, ...]:
        """In the order of the table's columns."""
        encoder = _json(self.encoder) if self.encoder is not None else None
        row = (self.codec, self.name, _json(self.config), self.kind, self.metric, self.dim, encoder)
        return (*row, _json(self.encoder_fingerprint), self.fingerprint)

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """The inverse of `as_row`."""
        encoder = json.loads(row[6]) if row[6] is not None else None
        return cls(row[0], row[1], json.loads(row[2]), row[3], row[4], row[5], encoder, json.loads(row[7]))


_BESIDE = ("pipeline", "files", "recipe", "quality")


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A committed segment.

    ``max_norm`` bounds the norms of its stored vectors; ``origins`` are the numbers under which its
    documents came to the index: its own, unless it was merged from others. ``records_read``,
    ``records_sha256`` and ``skipped`` say which part of the source it came from, so that a build can
    be resumed.
    """

    segment: int
    codec: int
    generation: int
    n_documents: int
    n_tokens: int
    max_norm: float
    records_read: int
    records_sha256: str
    skipped: int
    files: tuple[FileRecord, ...]
    origins: tuple[int, ...] = ()
    stored_checksum: str | None = None
    """What the catalog says of `checksum`; None before it is registered."""

    @property
    def checksum(self) -> str:
        """SHA-256 over this record and its files'."""
        files = sorted(([f.name, f.path, f.bytes, f.sha256, f.dtype, f.shape] for f in self.files), key=str)
        parts = [self.as_row(), files]
        if self.origins != (self.segment,):  # format 1 had no others, and its checksums must stay
            parts.append(self.origins)
        return hashlib.sha256(_json(parts).encode()).hexdigest()

    @property
    def is_arranged(self) -> bool:
        """Whether the trained search keeps anything of it."""
        return any(file.name.startswith("arranged/") for file in self.files)

    def has_file(self, name: str) -> bool:
        """Whether it has a file of this name."""
        return any(file.name == name for file in self.files)

    def file(self, name: str) -> FileRecord:
        """The file of this name.

        Raises:
            IndexDamagedError: the catalog names none.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise IndexDamagedError(f"segment {self.segment} has no file {name!r}; restore the index from a copy")

    def as_row(self) -> tuple[Any, ...]:
        """In the order of the table's columns."""
        return tuple(getattr(self, name) for name in _SEGMENT_COLUMNS)

    @classmethod
    def from_row(cls, row: Sequence[Any], files: Sequence[FileRecord], origins: Sequence[int]) -> Self:
        """The inverse of `as_row`."""
        values = dict(zip([*_SEGMENT_COLUMNS, "stored_checksum"], row, strict=True))
        return cls(**values, files=tuple(files), origins=tuple(origins))


_SEGMENT_COLUMNS = [
    field.name for field in fields(SegmentRecord) if field.name not in ("files", "origins", "stored_checksum")
]


class BuiltPart(NamedTuple):
    """The part of a build's source that became one segment: how many records were read, their hash, what
    became of them, and the records left out up to here."""

    records_read: int
    records_sha256: str
    n_documents: int
    n_tokens: int
    skipped: int

    @classmethod
    def of(cls, segment: SegmentRecord) -> Self:
        """What a segment of a build knows of it."""
        return cls(*(getattr(segment, name) for name in cls._fields))


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """The documents of one small commit, kept in the catalog until they are folded into a segment.

    ``buffer`` numbers the segment they will become, ``first`` is the ordinal of their first;
    ``documents`` is an Arrow IPC stream, ``doclens`` int64, ``codes`` as in a segment's file.
    """

    generation: int
    buffer: int
    first: int
    n_documents: int
    n_tokens: int
    max_norm: float
    documents: bytes
    doclens: bytes
    codes: bytes

    @property
    def bytes(self) -> int:
        """How much it holds."""
        return len(self.documents) + len(self.doclens) + len(self.codes)

    def as_row(self) -> tuple[Any, ...]:
        """In the order of the table's columns, with the checksum."""
        row = tuple(getattr(self, field.name) for field in fields(self))
        return (*row, _checksum_of(row))

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """The inverse of `as_row`.

        Raises:
            IndexDamagedError: not what was committed.
        """
        if _checksum_of(row[:-1]) != row[-1]:
            raise IndexDamagedError(
                f"the documents pending since generation {row[0]} are not what was committed; "
                "repair the index, or restore it from a copy"
            )
        return cls(*row[:-1])


def _checksum_of(row: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for value in row:
        content = value if isinstance(value, bytes) else _json(value).encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _json(value: Any) -> str:
    # A damaged row may hold what is no JSON: its checksum has to differ, not to fail.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=repr)
