"""How few bytes a token take what quality: codes of token vectors, with pooling and without.

    python -m bench.sizes [COLLECTION...] [--dim 128] [--pooling ward:2] [--only pq] [--json OUT]

Token vectors of each collection (`bench.late.data`) are pooled, coded by the residual codec, decoded and
scored by exact MaxSim, so that what is lost is lost by the codes alone: nDCG@10 against that of the float
vectors, unpooled. ``bytes`` are those of a stored row (centroid, inverse norm, code), and spread over the
tokens that there were before pooling; postings (2 to 5 bytes more) are told apart. The last column says
whether that meets the mark for its size (`MARKS`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.embeddings import DEFAULT_CACHE, DEFAULT_COLLECTIONS
from bench.late.data import LateData, load
from bench.late.truth import exact, ndcg
from bench.machine import describe_machine, summarise_machine
from bench.peers.late_base import Tokens
from retrieval.kernels.postings.cpu import distinct
from retrieval.quantize.residual import ResidualCodec
from retrieval.quantize.residual.codec import CODERS
from retrieval.quantize.residual.training import choose_ncentroids, train_centroids
from retrieval.reduce.pooling import pool, pooling_of
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["CODES", "MARKS", "Size", "mark_of", "sizes"]

CODES: dict[str, dict[str, Any]] = {
    "bits 4": {"codec": "bits", "bits": 4, "buckets": "global"},
    "pq 72x4": {"codec": "pq", "m": 72, "nbits": 4},
    "pq 36x8": {"codec": "pq", "m": 36, "nbits": 8},
    "bits 2": {"codec": "bits", "bits": 2, "buckets": "global"},
    "ternary": {"codec": "ternary", "buckets": "global"},
    "pq 44x4": {"codec": "pq", "m": 44, "nbits": 4},
    "pq 22x8": {"codec": "pq", "m": 22, "nbits": 8},
    "pq 32x4": {"codec": "pq", "m": 32, "nbits": 4},
    "pq 16x8": {"codec": "pq", "m": 16, "nbits": 8},
    "bits 1": {"codec": "bits", "bits": 1, "buckets": "global"},
    "none": {"codec": "none"},
}
"""By name: a recipe's settings, chosen for 128 dimensions."""
MARKS = ((20.0, 0.02), (26.0, 0.01), (40.0, 0.005))
"""Bytes a token, and what up to so many may lose of nDCG@10."""
TRAINED = 1 << 17
"""Residuals that codes are trained on at most, as an index does."""
POSTING_BYTES = 4


@dataclass(frozen=True)
class Size:
    """One line of the table: bytes of a stored row, of a token before pooling, and of that for postings."""

    collection: str
    pooling: str
    codes: str
    row: int
    token: float
    postings: float
    ndcg: float
    loss: float

    @property
    def is_met(self) -> bool | None:
        """Whether the mark for this size is met; None where there is none."""
        mark = mark_of(self.token)
        return None if mark is None else self.loss <= mark


def mark_of(token: float) -> float | None:
    """What so many bytes a token may lose: the mark of the next size that there is one for."""
    return next((loss for size, loss in MARKS if round(token) <= size), None)


def sizes(
    data: LateData, pooling: str, codes: Mapping[str, Mapping[str, Any]], exact_ndcg: float, threads: int = 1
) -> Iterator[Size]:
    """A line for each kind of codes; ``exact_ndcg`` is that of the vectors as they are."""
    documents = _pooled(data.documents, pooling)
    whole = np.ascontiguousarray(documents.values, dtype=np.float32)
    share = documents.count / data.documents.count
    yield _size(data, pooling, "float32", whole, documents, exact_ndcg, 4 * documents.dim, share, 0.0)
    ncentroids = choose_ncentroids(documents.count, documents.count)
    centroids = train_centroids(whole, ncentroids, threads=threads)
    chosen = centroids.nearest(whole, threads)
    some = slice(None, None, -(-len(whole) // TRAINED))
    residuals = whole[some] - centroids.values[chosen[some]]
    named, _ = distinct(chosen.astype(np.uint32), documents.offsets, ncentroids)
    for name, options in codes.items():
        codec = ResidualCodec(centroids, CODERS[options["codec"]].fit(residuals, options, 0, threads))
        tokens = codec.encode_tokens(whole, threads)
        row = codec.width(documents.dim)
        own = (POSTING_BYTES + tokens.centroids.itemsize) * len(named) / data.documents.count
        values = codec.decode_tokens(tokens)
        yield _size(data, pooling, name, values, documents, exact_ndcg, row, share, own)


def _size(
    data: LateData,
    pooling: str,
    codes: str,
    values: FloatArray,
    documents: Tokens,
    exact_ndcg: float,
    row: int,
    share: float,
    postings: float,
) -> Size:
    found = ndcg_of(data, values, documents.offsets)
    return Size(data.name, pooling, codes, row, row * share, postings, found, exact_ndcg - found)


def ndcg_of(data: LateData, values: FloatArray, offsets: IntArray) -> float:
    """nDCG@10 by exact MaxSim of these vectors.

    Raises:
        ValueError: the collection has no judgements.
    """
    found = ndcg(list(exact(Tokens(values, offsets), data.queries, 10).ids), data)
    if found is None:
        raise ValueError(f"{data.name} has no judgements, so nothing can be lost of nDCG@10")
    return found


def _pooled(documents: Tokens, pooling: str) -> Tokens:
    kind = pooling_of(pooling)
    if kind is None:
        return documents
    values = np.ascontiguousarray(documents.values, dtype=np.float32)
    pooled = pool(Ragged(values, documents.offsets), kind, None, normalise=True)
    return Tokens(pooled.values, pooled.offsets)


def _table(name: str, rows: Sequence[Size], caption: str) -> Table:
    table = Table(title=f"{name}: nDCG@10 of decoded tokens, exact MaxSim", caption=caption)
    for title in ("pooling", "codes"):
        table.add_column(title)
    for title in ("bytes a row", "bytes a token", "postings", "nDCG@10", "loss", "mark"):
        table.add_column(title, justify="right")
    for row in rows:
        mark = mark_of(row.token)
        told = "" if mark is None else f"{'met' if row.is_met else 'missed'} ({mark:g})"
        table.add_row(
            row.pooling,
            row.codes,
            str(row.row),
            f"{row.token:.1f}",
            f"{row.postings:.1f}",
            f"{row.ndcg:.4f}",
            f"{row.loss:+.4f}",
            told,
        )
    return table


def main(
    collections: Annotated[list[str] | None, typer.Argument(metavar="COLLECTION...")] = None,
    dim: Annotated[int, typer.Option(min=1, help="dimensions, by PCA")] = 128,
    pooling: Annotated[list[str] | None, typer.Option(help="repeatable; default: none and ward:2")] = None,
    only: Annotated[str, typer.Option(help="part of the names of codes")] = "",
    queries: Annotated[int, typer.Option(min=1, help="queries at most")] = 1000,
    threads: Annotated[int, typer.Option(min=1, help="threads that train and code")] = 1,
    folder: Annotated[Path, typer.Option(help="where the collections are")] = DEFAULT_COLLECTIONS,
    cache: Annotated[Path, typer.Option(help="folder that keeps embeddings")] = DEFAULT_CACHE,
    json_out: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Pool, code, decode, rank, measure."""
    console, machine = Console(width=140), describe_machine()
    codes = {name: options for name, options in CODES.items() if only in name}
    rows: list[Size] = []
    for name in collections or ["cranfield", "scifact"]:
        data = load(name, dim, queries, cache, folder)
        truth = ndcg_of(data, np.asarray(data.documents.values, dtype=np.float32), data.documents.offsets)
        found = [
            row for kind in pooling or ["none", "ward:2"] for row in sizes(data, kind, codes, truth, threads)
        ]
        console.print(_table(data.name, found, summarise_machine(machine)))
        rows += found
    if json_out is not None:
        told = {"machine": machine, "rows": [asdict(row) for row in rows]}
        json_out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
