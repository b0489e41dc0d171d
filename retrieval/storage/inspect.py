"""What an index is and whether it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import IndexDamagedError
from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.files import check_size, hash_file
from retrieval.storage.records import SegmentRecord
from retrieval.storage.segment import SegmentReader

__all__ = ["IndexInfo", "VerifyReport", "describe_index", "verify_files"]


@dataclass(frozen=True)
class IndexInfo:
    """Facts about an index. ``bytes`` maps components to bytes on disk; ``encoder`` is None for a
    caller's own class; ``complete`` is False while a build is unfinished."""

    path: str
    format_version: int
    generation: int
    kind: str
    metric: str
    dim: int
    precision: str
    documents: int
    tokens: int
    segments: int
    bytes: dict[str, int]
    encoder: dict[str, Any] | None
    fingerprint: dict[str, Any]
    fields: dict[str, str]
    created_at: str
    complete: bool


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what is wrong."""

    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def describe_index(root: Path, catalog: Catalog, fields: dict[str, str]) -> IndexInfo:
    """Read the facts from one generation of the catalog."""
    with catalog.reading():
        codec, segments = catalog.codec(), catalog.segments()
        generation, build = catalog.generation(), catalog.meta("build")
        version, created = catalog.meta("format_version"), catalog.meta("created_at")
    sizes: Counter[str] = Counter()
    for segment in segments:
        for file in segment.files:
            sizes[file.name] += file.bytes
    kept = [path for path in root.glob(CATALOG + "*") if not path.name.endswith("-shm")]  # shm is scratch
    sizes["catalog"] = sum(path.stat().st_size for path in kept)
    return IndexInfo(
        path=str(root),
        format_version=version,
        generation=generation,
        kind=codec.kind,
        metric=codec.metric,
        dim=codec.dim,
        precision=codec.config["precision"],
        documents=sum(segment.n_documents for segment in segments),
        tokens=sum(segment.n_tokens for segment in segments),
        segments=len(segments),
        bytes=dict(sizes),
        encoder=codec.encoder,
        fingerprint=codec.encoder_fingerprint,
        fields=fields,
        created_at=created,
        complete=build["complete"],
    )


def verify_files(
    root: Path, catalog: Catalog, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check every checksum and invariant. ``progress(bytes_done, bytes_total)`` after each file."""
    try:
        problems = catalog.problems()
        with catalog.reading():
            segments, registered = catalog.segments(), catalog.n_documents()
    except IndexDamagedError as error:
        return VerifyReport(0, 0, (str(error),))
    if registered != (committed := sum(segment.n_documents for segment in segments)):
        problems.append(f"catalog: {registered} ids registered, but the segments hold {committed} documents")
    files = [file for segment in segments for file in segment.files]
    total, done = sum(file.bytes for file in files), 0
    for segment in segments:
        problems += _segment_problems(root, segment, catalog)
        done += sum(file.bytes for file in segment.files)
        if progress is not None:
            progress(done, total)
    return VerifyReport(len(files), total, tuple(problems))


def _segment_problems(root: Path, segment: SegmentRecord, catalog: Catalog) -> list[str]:
    """Checksums first: only a segment whose bytes are right is opened."""
    if segment.stored_checksum != segment.checksum:
        return [
            f"catalog: segment {segment.segment} is not what was committed; restore the index from a copy"
        ]
    found = []
    for file in segment.files:
        try:
            path = check_size(root, file)
        except IndexDamagedError as error:
            found.append(str(error))
            continue
        if hash_file(path) != file.sha256:
            found.append(
                f"{path}: its bytes are not those that were committed; restore the index from a copy"
            )
    if found:
        return found
    reader = SegmentReader(root, segment)
    found = reader.problems()
    for ordinal, doc_id in enumerate(reader.documents.ids()):
        if catalog.find(doc_id) != (segment.segment, ordinal):
            found.append(f"document {doc_id!r} is not where the catalog says; restore the index from a copy")
    return [f"segment {segment.segment}: {problem}" for problem in found]
