"""Rows of the catalog as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from retrieval.errors import IndexDamagedError
from retrieval.storage.files import FileRecord
from retrieval.types import EncoderKind, Metric

__all__ = ["CodecRecord", "SegmentRecord"]


@dataclass(frozen=True, slots=True)
class CodecRecord:
    """A codec generation: what turns text into stored codes, frozen.

    ``name`` and ``config`` describe the codec; ``encoder`` is an EncoderConfig as a dict (None
    for a caller's own class), ``encoder_fingerprint`` what identifies its vectors.
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
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides how codes are made and scored."""
        parts = [self.name, self.config, self.kind, self.metric, self.dim, self.encoder_fingerprint]
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


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A committed segment.

    ``max_norm`` is the largest norm of its stored vectors. ``records_read``, ``records_sha256``
    and ``skipped`` say which part of the source it came from, so that a build can be resumed.
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
    stored_checksum: str | None = None
    """What the catalog says of `checksum`; None before it is registered."""

    @property
    def checksum(self) -> str:
        """SHA-256 over this record and its files'."""
        files = sorted(([f.name, f.path, f.bytes, f.sha256, f.dtype, f.shape] for f in self.files), key=str)
        return hashlib.sha256(_json([self.as_row(), files]).encode()).hexdigest()

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
    def from_row(cls, row: Sequence[Any], files: Sequence[FileRecord]) -> Self:
        """The inverse of `as_row`."""
        values = dict(zip([*_SEGMENT_COLUMNS, "stored_checksum"], row, strict=True))
        return cls(**values, files=tuple(files))


_SEGMENT_COLUMNS = [
    field.name for field in fields(SegmentRecord) if field.name not in ("files", "stored_checksum")
]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
