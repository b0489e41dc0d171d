"""The recall of a trained search against exact scoring of the same vectors, effort by effort."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.building import teller, threads_to_use
from retrieval.index import Effort, FlatIndex, Found, Pool, Probe, Searcher
from retrieval.index.fold_pipeline import FoldPipeline
from retrieval.index.lists import WIDEN
from retrieval.index.stored import stored_tokens
from retrieval.index.token_pipeline import TokenPipeline
from retrieval.index.token_search import is_gathered
from retrieval.index.vamana_search import kept_by
from retrieval.kernels.token_rescore.cpu import maxsim_exactly
from retrieval.quantize import Codec, Int8Codec
from retrieval.quantize.residual import ResidualCodec
from retrieval.search.curve import ROW_COST, CurvePoint, RecallCurve, document_cost, frontier
from retrieval.storage import CodecRecord, Trained
from retrieval.types import IntArray, Ragged

__all__ = ["measure"]

KS, USUAL = (1, 10, 100, 1000), 100
DEPTHS = (1, 1.25, 1.5, 1.75, 2, 2.1, 2.2, 2.3, 2.5, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 100)
"""Candidates refined, as multiples of k."""
DEEPEST = 10_000
SCORED = (64, 128, 256, 384, 512, 1024, 2048)
"""Documents scored by their codes (tokens)."""
DEEPER, ENOUGH = (4096, 8192), 0.99
"""Those that are tried too where no such recall was reached: many short documents score alike."""
PROBES = (4, 8, 16, 24, 32, 64, 128)
"""Centroids probed by each query token."""
TOKEN_QUERIES = 128
"""Pseudo-queries at most where there are so many efforts to try."""
WIDTHS = (6, 8, 11, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048)
"""Widths of a walk through a graph."""


class Searched(Protocol):
    """A segment, or a sample of documents, that a trained search has arranged."""

    codes: NDArray[Any]
    offsets: IntArray
    live: NDArray[np.bool_] | None
    max_norm: float

    def __len__(self) -> int:
        """Documents that are not deleted."""

    @property
    def search(self) -> Probe | None:
        """How they are found."""


def measure(views: Sequence[Searched], record: CodecRecord, trained: Trained, queries: Ragged) -> RecallCurve:
    """Search for prepared ``queries`` with more and more effort; ``record`` says what the vectors are.

    Recall at k is the share of the best k by exact scores that are among the candidates; which of
    them are looked up (``depth``) is read off the order of one search's estimates.
    """
    documents = sum(len(view) for view in views)
    pipeline = trained.pipeline
    if pipeline is None or not len(queries) or not documents:
        return RecallCurve(documents, len(queries), 1, ())
    if isinstance(pipeline, TokenPipeline) and len(queries) > TOKEN_QUERIES:
        last = queries.offsets[TOKEN_QUERIES]
        queries = Ragged(queries.values[:last], queries.offsets[: TOKEN_QUERIES + 1])
    row_cost = _row_cost(record, trained, views, queries)
    ks = [k for k in KS if k == 1 or 2 * k <= documents]
    truth = _exact(record, trained, views, queries, min(max(ks), documents))
    started = time.perf_counter()
    points: list[CurvePoint] = []
    pace: list[float] = []
    probes = pipeline.reduce_queries(queries)
    preparing = 1e9 * (time.perf_counter() - started) / len(queries)
    for view in views:  # kernels are compiled and pages read before anything is timed
        if view.search is not None:
            view.search.search(probes, Effort(depth=1, nprobe=1, ef_search=1, scored=1), view.live)
    efforts, tell = list(_efforts(pipeline, documents, max(ks))), teller()

    def ask(effort: Effort) -> None:
        started = time.perf_counter()
        found = [view.search.search(probes, effort, view.live) for view in views if view.search is not None]
        taken = 1e9 * (time.perf_counter() - started) / len(queries)
        some = _points(truth, _merged(found), ks, effort, _scanned(found), _work(found))
        pace.extend(taken / max(point.finding, 1.0) for point in some[:1])
        points.extend(some)

    for done, effort in enumerate(efforts):
        tell("measure recall", done / len(efforts))
        ask(effort)
    if isinstance(pipeline, TokenPipeline):
        for effort in _deeper(documents, pipeline.nlist, points):
            ask(effort)
    kept = tuple(frontier(points, row_cost))
    rest = row_cost, float(np.median(pace)), preparing
    return RecallCurve(documents, len(queries), pipeline.nlist, kept, *rest)


def _row_cost(record: CodecRecord, trained: Trained, views: Sequence[Searched], queries: Ragged) -> float:
    """What the exact score of one document costs; see `retrieval.search.curve`."""
    if record.kind == "dense":
        return ROW_COST
    tokens = sum(int(view.offsets[-1]) for view in views) / max(sum(len(v.offsets) - 1 for v in views), 1)
    itemsize = 0 if isinstance(trained.codec, ResidualCodec) else views[0].codes.itemsize
    return document_cost(tokens, float(queries.doclens.mean()), record.dim, itemsize)


def _efforts(pipeline: Searcher, documents: int, k: int) -> Iterator[Effort]:
    """From the least to all of it."""
    if isinstance(pipeline, TokenPipeline):
        yield from _token_efforts(documents, pipeline.nlist, pipeline.index.codec.nbytes > 0)
        return
    index = pipeline.vectors.index if isinstance(pipeline, FoldPipeline) else getattr(pipeline, "index", None)
    depth = min(documents, max(DEEPEST, k))
    if index is not None and index.name in ("hnsw", "vamana"):
        for width in WIDTHS:
            kept = kept_by(width) if index.name == "vamana" else width
            yield Effort(depth=min(depth, kept), nprobe=1, ef_search=width)
        return
    nlist = pipeline.nlist
    nprobe = 1.0
    while int(nprobe) < nlist:
        yield Effort(depth=depth, nprobe=int(nprobe), ef_search=0)
        nprobe = max(nprobe + 1, nprobe * 1.5)
    yield Effort(depth=depth, nprobe=nlist, ef_search=0)


def _token_efforts(documents: int, ncentroids: int, has_codes: bool) -> Iterator[Effort]:
    """Documents scored by their codes, and centroids probed where that decides which are; where there are no
    codes, also what postings alone find."""
    probes = sorted({min(nprobe, ncentroids) for nprobe in PROBES})
    for scored in sorted({min(scored, documents) for scored in SCORED}):
        for nprobe in probes if is_gathered(documents, scored) else probes[:1]:
            yield Effort(depth=scored, nprobe=nprobe, ef_search=0, scored=scored)
    if is_gathered(documents, 0) and not has_codes:
        for nprobe in probes:
            yield Effort(depth=min(SCORED[-1], documents), nprobe=nprobe, ef_search=0, scored=0)


def _deeper(documents: int, ncentroids: int, points: Sequence[CurvePoint]) -> list[Effort]:
    """More documents by all their centroids, where the best of what was tried is not enough."""
    k = max((point.k for point in points if point.k <= USUAL), default=1)
    if max((point.recall for point in points if point.k == k), default=1.0) >= ENOUGH:
        return []
    wider = [scored for scored in DEEPER if max(SCORED) < scored <= documents]
    nprobe = min(max(PROBES), ncentroids)
    return [Effort(depth=scored, nprobe=nprobe, ef_search=0, scored=scored) for scored in wider]


def _exact(
    record: CodecRecord, trained: Trained, views: Sequence[Searched], queries: Ragged, k: int
) -> list[tuple[IntArray, IntArray]]:
    """Positions of segments and ordinals of the best ``k``, best first."""
    found = []
    for position, view in enumerate(views):
        given = view.codes, view.offsets, trained.codec, record.metric, view.max_norm, position
        mine = FlatIndex(*given, threads=threads_to_use()).candidates(queries, k, view.live)
        found.append(_refined(view, trained.codec, queries, mine) if record.kind == "late" else mine)
    best = []
    for pools in zip(*found, strict=True):
        scores = np.concatenate([pool.scores for pool in pools])
        segments = np.concatenate([pool.segments for pool in pools])
        ordinals = np.concatenate([pool.ordinals for pool in pools])
        order = np.lexsort((ordinals, segments, -scores))[:k]
        best.append((segments[order], ordinals[order]))
    return best


def _refined(view: Searched, codec: Codec, queries: Ragged, pools: Sequence[Pool]) -> list[Pool]:
    """Pools with exact scores: those of bytes are of rounded queries."""
    if not isinstance(codec, Int8Codec):
        return list(pools)
    tokens = stored_tokens(view.codes, view.offsets, codec, view.max_norm)
    exact = [maxsim_exactly(queries[i], tokens, pool.ordinals) for i, pool in enumerate(pools)]
    return [replace(pool, scores=scores) for pool, scores in zip(pools, exact, strict=True)]


def _merged(found: Sequence[Sequence[Found]]) -> list[tuple[IntArray, IntArray]]:
    """Candidates of all segments: their documents as keys, and the rank of each in its segment's answer,
    which decides what a depth leaves over."""
    merged = []
    for each in zip(*found, strict=True):
        keys = [(position << 32) | one.ordinals.astype(np.int64) for position, one in enumerate(each)]
        ranks = [_ranks(one) for one in each]
        merged.append((np.concatenate(keys), np.concatenate(ranks)))
    return merged


def _ranks(found: Found) -> IntArray:
    """The least rank at which each of a deep search's candidates is surely among those of a shallow one.

    With fewer bits scanned than there are, that one reads the whole codes of `WIDEN` times its depth; a
    candidate must be among them, and then those that are better can only be fewer.
    """
    places = np.arange(len(found.ordinals))
    return places if found.ranks is None else np.maximum(places, found.ranks // WIDEN)


def _scanned(found: Sequence[Sequence[Found]]) -> float:
    return float(np.mean([sum(one.scanned for one in each) for each in zip(*found, strict=True)]))


def _work(found: Sequence[Sequence[Found]]) -> float | None:
    """The mean cost of finding candidates, where searches tell it."""
    if any(one.cost is None for each in found for one in each):
        return None
    return float(np.mean([sum(one.cost or 0.0 for one in each) for each in zip(*found, strict=True)]))


def _points(
    truth: Sequence[tuple[IntArray, IntArray]],
    merged: Sequence[tuple[IntArray, IntArray]],
    ks: Sequence[int],
    effort: Effort,
    scanned: float,
    work: float | None,
) -> list[CurvePoint]:
    deepest = max(truth[0][0].shape[0], 1)
    needed = np.full((len(truth), deepest), np.inf)
    for i, ((segments, ordinals), (keys, ranks)) in enumerate(zip(truth, merged, strict=True)):
        wanted = (segments.astype(np.int64) << 32) | ordinals
        order = np.argsort(keys)
        at = np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))
        if len(keys):
            hit = keys[order][at] == wanted
            needed[i, : len(wanted)] = np.where(hit, ranks[order][at], np.inf)
    points = []
    for k in ks:
        for depth in sorted({min(effort.depth, int(np.ceil(multiple * k))) for multiple in DEPTHS}):
            recalls = (needed[:, :k] < depth).mean(axis=1)
            error = float(recalls.std(ddof=1) / np.sqrt(len(recalls))) if len(recalls) > 1 else 0.0
            point = k, effort.nprobe, effort.ef_search, depth, float(recalls.mean()), error, scanned
            scored = 0 if work is None else effort.scored
            points.append(CurvePoint(*point, scored, work))
    return points
