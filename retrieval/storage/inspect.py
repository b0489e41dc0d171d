"""What an index is: the facts that its catalog tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from retrieval.errors import IndexDamagedError
from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.clipping import clipped_share
from retrieval.storage.files import map_array
from retrieval.storage.records import SegmentRecord
from retrieval.storage.segment import STRAIN

__all__ = ["IndexInfo", "describe_index"]

KEEPING_NOTHING = frozenset({"exact", "funnel"})
"""Indexes of recipes that may search the stored vectors alone."""


@dataclass(frozen=True)
class IndexInfo:
    """Facts about an index. ``pending`` documents are not yet in a segment, ``deleted`` ones still take
    room; ``bytes`` maps components to bytes on disk; ``recipe`` is what documents are found by and
    ``quality`` what was measured of it (None: every stored vector is scored); ``strain`` is the share of
    tokens' squared lengths that centroids leave (index tokens), to be compared with that of the documents
    that were trained on, ``quality["strain"]``; ``clipped`` is the share of numbers beyond the range of int8,
    of all that were added since it was calibrated (None: none was); ``unarranged`` documents lie in
    segments without the graph or lists of the recipe, for want of memory, and are all scored; ``encoder`` is
    None for a caller's own class; ``complete`` is False while a build is unfinished; ``pooling`` says how
    tokens share vectors (`IndexConfig.pooling`); ``config`` is what was asked for (`IndexConfig`), also what
    of it is not trained yet."""

    path: str
    format_version: int
    generation: int
    kind: str
    metric: str
    dim: int
    precision: str
    recipe: dict[str, Any] | None
    quality: dict[str, Any] | None
    documents: int
    pending: int
    deleted: int
    tokens: int
    segments: int
    bytes: dict[str, int]
    encoder: dict[str, Any] | None
    fingerprint: dict[str, Any]
    fields: dict[str, str]
    created_at: str
    complete: bool
    pooling: str = "none"
    strain: float | None = None
    clipped: float | None = None
    unarranged: int = 0
    config: dict[str, Any] = field(default_factory=dict)


def describe_index(root: Path, catalog: Catalog, fields: dict[str, str]) -> IndexInfo:
    """Read the facts from one generation of the catalog."""
    with catalog.reading():
        codec, segments = catalog.codec(), catalog.segments()
        generation, build = catalog.generation(), catalog.build_state()
        version, created = catalog.meta("format_version"), catalog.meta("created_at")
        pooling, config, clipped = catalog.pooling(), catalog.meta("config"), clipped_share(catalog)
        documents, deleted = catalog.register.count(), catalog.register.count_tombstones()
        pending = list(catalog.register.pending())
        replaced = len(catalog.register.tombstones([pending[-1].buffer])) if pending else 0
    strains = [(one.n_tokens, strain) for one in segments if (strain := _strain(root, one)) is not None]
    sizes: Counter[str] = Counter()
    for file in codec.files:
        sizes["trained"] += file.bytes
    for segment in segments:
        for file in segment.files:
            sizes[file.name.split("/")[0]] += file.bytes
    kept = [path for path in root.glob(CATALOG + "*") if not path.name.endswith("-shm")]  # shm is scratch
    for path in kept:
        with suppress(FileNotFoundError):  # SQLite has removed its log since we listed it
            sizes["catalog"] += path.stat().st_size
    return IndexInfo(
        path=str(root),
        format_version=version,
        generation=generation,
        kind=codec.kind,
        metric=codec.metric,
        dim=codec.dim,
        precision=codec.config["precision"],
        recipe=codec.config.get("recipe"),
        quality=codec.quality,
        documents=documents,
        pending=sum(batch.n_documents for batch in pending) - replaced,
        deleted=deleted,
        tokens=sum(one.n_tokens for one in segments) + sum(one.n_tokens for one in pending),
        segments=len(segments),
        bytes=dict(sizes),
        encoder=codec.encoder,
        fingerprint=codec.encoder_fingerprint,
        strain=_mean(strains),
        clipped=clipped,
        unarranged=_unarranged(codec.config.get("recipe"), segments),
        fields=fields,
        created_at=created,
        complete=build["complete"],
        pooling=pooling,
        config=config,
    )


def _unarranged(recipe: Mapping[str, Any] | None, segments: Sequence[SegmentRecord]) -> int:
    """Documents of segments that the recipe would arrange, and has not."""
    if recipe is None or recipe["index"] in KEEPING_NOTHING:
        return 0
    return sum(one.n_documents for one in segments if not one.is_arranged)


def _strain(root: Path, segment: SegmentRecord) -> float | None:
    """How badly a segment fits the centroids; None where nobody measured it, or the file is damaged."""
    if not segment.has_file(STRAIN):
        return None
    try:
        strain = float(map_array(root, segment.file(STRAIN))[0])
    except IndexDamagedError:  # only advice is lost; verify tells
        return None
    return strain if isfinite(strain) else None


def _mean(weighted: Sequence[tuple[int, float]]) -> float | None:
    total = sum(weight for weight, _ in weighted)
    return sum(weight * value for weight, value in weighted) / total if total else None
