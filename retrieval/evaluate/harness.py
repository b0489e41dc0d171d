"""Ask an engine every judged query of a collection, and measure the answers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retrieval.errors import ConfigError
from retrieval.evaluate.beir import BeirDataset
from retrieval.evaluate.measures import DEFAULT_MEASURES, Measure, load_backend, measure, parse_measures
from retrieval.evaluate.result import EvalResult, count_judgements, describe_encoder, describe_index
from retrieval.evaluate.runs import Run, read_run, strictly_decreasing, write_run
from retrieval.storage import IndexInfo
from retrieval.types import SearchResult

__all__ = ["QueryProgress", "SearchEngine", "evaluate", "evaluate_run", "thread_count"]

QUERY_BATCH = 256
"""Queries given to the engine at once: enough to share its passes, few enough to show progress."""

QueryProgress = Callable[[int, int], None]
"""Called with the queries answered so far and their number."""


class SearchEngine(Protocol):
    """What an evaluation needs of an engine."""

    def search_batch(
        self, queries: Sequence[str], k: int = 10, *, fields: Sequence[str] | None = None
    ) -> list[SearchResult]:
        """Hits of each query, best first."""
        ...

    def inspect(self) -> IndexInfo:
        """Facts about the index."""
        ...


def evaluate(
    engine: SearchEngine,
    dataset: BeirDataset,
    *,
    measures: Iterable[str | Measure] = DEFAULT_MEASURES,
    depth: int | None = None,
    run_path: str | Path | None = None,
    progress: QueryProgress | None = None,
) -> EvalResult:
    """Search all judged queries and measure the run, in exactly the order the engine gave.

    ``depth`` is the number of hits per query; by default as many as the measures look at (1,000
    for MAP). With ``run_path`` the run is written there as a TREC run file. One query is asked
    before the clock starts, so that times hold no loading and no compilation.

    Raises:
        ConfigError: an unknown measure, or a depth below 1.
        DataError: a query or document id that the run file cannot carry.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    measures = parse_measures(measures)
    load_backend()
    if depth is None:
        depth = max(one.depth for one in measures)
    if depth < 1:
        raise ConfigError(f"depth={depth} must be 1 or more")
    run, times = _search(engine, dataset, depth, progress)
    if run_path is not None:
        write_run(run_path, run)
    measured = measure(dataset.qrels, run, measures)
    info = engine.inspect()
    return EvalResult(
        dataset=dataset.name,
        split=dataset.split,
        encoder=describe_encoder(info),
        measured=measured,
        queries=_count_queries(dataset, measured.answered, dataset.unjudged_queries),
        judgements=count_judgements(dataset),
        ignore_same_id=dataset.ignore_same_id,
        depth=depth,
        index=describe_index(info),
        times=times.to_json(len(run)),
        threads=thread_count(),
    )


def evaluate_run(
    dataset: BeirDataset, run_path: str | Path, *, measures: Iterable[str | Measure] = DEFAULT_MEASURES
) -> EvalResult:
    """Measure an existing TREC run file as trec_eval would, ties by document id descending.

    Queries of the file that the split does not judge are counted and left out.

    Raises:
        ConfigError: an unknown measure.
        DataError: the file cannot be read (``file:line`` told).
        MissingExtraError: the extra ``eval`` is not installed.
    """
    run = read_run(run_path)
    if dataset.ignore_same_id:
        run = {query_id: [hit for hit in hits if hit[0] != query_id] for query_id, hits in run.items()}
    measured = measure(dataset.qrels, run, measures)
    return EvalResult(
        dataset=dataset.name,
        split=dataset.split,
        encoder=None,
        measured=measured,
        queries=_count_queries(dataset, measured.answered, len(run.keys() - dataset.qrels.keys())),
        judgements=count_judgements(dataset),
        ignore_same_id=dataset.ignore_same_id,
    )


def thread_count() -> int:
    """Threads that arithmetic may use: torch's setting where torch is loaded, else the CPUs."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(slots=True)
class _Times:
    """Seconds over all batches. Encoding and search stay None unless the engine tells them."""

    total: float = 0.0
    encode: float | None = None
    search: float | None = None

    def add(self, seconds: float, results: list[SearchResult]) -> None:
        """One batch took ``seconds``; its results all carry the batch's own times."""
        self.total += seconds
        told = results[0].timings_ms
        if "encode" in told and "search" in told:
            fetched = told["search"] + told.get("fetch", 0.0)
            self.encode = (self.encode or 0.0) + told["encode"] / 1000
            self.search = (self.search or 0.0) + fetched / 1000

    def to_json(self, n_queries: int) -> dict[str, float | None]:
        search = self.total if self.search is None else self.search
        return {
            "query_encode_seconds": self.encode,
            "search_seconds": search,
            "search_ms_per_query": 1000 * search / n_queries,
            "query_total_seconds": self.total,
        }


def _search(
    engine: SearchEngine, dataset: BeirDataset, depth: int, progress: QueryProgress | None
) -> tuple[Run, _Times]:
    query_ids, texts = list(dataset.queries), list(dataset.queries.values())
    # One more, because a query may find itself.
    k = depth + 1 if dataset.ignore_same_id else depth
    engine.search_batch(texts[:1], k, fields=())
    run: Run = {}
    times = _Times()
    for first in range(0, len(texts), QUERY_BATCH):
        batch = slice(first, first + QUERY_BATCH)
        started = time.perf_counter()
        results = engine.search_batch(texts[batch], k, fields=())
        times.add(time.perf_counter() - started, results)
        for query_id, result in zip(query_ids[batch], results, strict=True):
            run[query_id] = _ranking(result, query_id if dataset.ignore_same_id else None, depth)
        if progress is not None:
            progress(len(run), len(texts))
    return run, times


def _ranking(result: SearchResult, ignored_id: str | None, depth: int) -> list[tuple[str, float]]:
    hits = [hit for hit in result.hits if hit.id != ignored_id][:depth]
    scores = strictly_decreasing([hit.score for hit in hits])
    return [(hit.id, float(score)) for hit, score in zip(hits, scores, strict=True)]


def _count_queries(dataset: BeirDataset, answered: int, not_judged: int) -> dict[str, int]:
    return {"judged": len(dataset.queries), "answered": answered, "not_judged": not_judged}
