"""Several ways to find documents, one ranking: an engine, a second one, and BM25 over the texts.

with Engine.open("late-index") as engine:
    for hit in Hybrid(engine).search("lift of thin wings", k=5):
        print(hit.score, hit.id, hit.text)
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

from retrieval.engine import Engine
from retrieval.errors import ConfigError, QueryError
from retrieval.filters import Filter
from retrieval.hybrid.bm25 import BM25
from retrieval.hybrid.found import Found, Generator, placed
from retrieval.hybrid.fusion import Fusion, fuse
from retrieval.queries import check_k, query_vectors
from retrieval.reader import FilterLike, SearchParams, filter_of, search_config
from retrieval.search import (
    Scored,
    accepted,
    check_fields,
    execute,
    fetch,
    rerank,
)
from retrieval.storage import IndexInfo
from retrieval.types import SearchResult

__all__ = ["Generator", "Hybrid"]

GENERATORS: tuple[Generator, ...] = get_args(Generator)


class Hybrid:
    """Search by several generators at once. Safe to share between threads; engines stay the caller's.

    Each query is answered from the union of ``num_candidates`` documents of each generator: ``engine``
    (late or dense, by its recipe), ``dense``, another engine over the same documents, and BM25 over the
    texts of ``engine``. Documents are those of ``engine``'s newest commit: what only ``dense`` has is left
    out.

    ``fuse`` and ``weights`` (by generator, 1 where none is given) say how the rankings become one, see
    `retrieval.hybrid.fusion`. With ``refine`` they decide nothing: the union is scored exactly by
    ``engine`` (MaxSim, where it is late), as a full search of it would. Fused rankings are the better ones
    unless the engine's model is much better than the other generators: what BM25 knows counts for nothing
    once the score is another's.

    ``language`` is that of the texts, for BM25: a name that Snowball knows, or ``none`` (`BM25`).

    Raises:
        ConfigError: nothing to combine, or a setting that cannot work.
        MissingExtraError: BM25 in a language, and the extra ``hybrid`` is not installed.
    """

    def __init__(
        self,
        engine: Engine,
        dense: Engine | None = None,
        *,
        bm25: bool = True,
        fuse: Fusion = "rrf",
        weights: Mapping[Generator, float] | None = None,
        refine: bool = False,
        num_candidates: int = 100,
        language: str = "english",
    ) -> None:
        self._engine, self._dense, self._refine = engine, dense, refine
        self._bm25 = BM25(language) if bm25 else None
        used = {"engine": True, "dense": dense is not None, "bm25": bm25}
        self._generators = tuple(name for name in GENERATORS if used[name])
        if len(self._generators) < 2:
            raise ConfigError("there is one generator and nothing to combine; give dense, or bm25=True")
        self._fusion, self._weights = _checked_fusion(fuse), _checked_weights(weights, self._generators)
        if num_candidates < 1:
            raise ConfigError(f"num_candidates={num_candidates} must be 1 or more")
        self._num_candidates = num_candidates

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
    ) -> SearchResult:
        """The best ``k`` documents for a text, as `Engine.search`; ``params`` are for ``engine``.

        There are fewer hits than ``k`` where the generators find fewer. ``explain="plan"`` tells how each
        generator searched and how many it found, and for each hit at which rank each of them had it.

        Raises:
            QueryError: a query that is no text, or empty; ``k`` below 1; an unknown field.
            FilterError: a filter that cannot be read or does not fit the fields of an engine.
            ConfigError: parameters that cannot work.
        """
        given = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        return self.search_batch([query], k, **given)[0]  # type: ignore[arg-type]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
    ) -> list[SearchResult]:
        """`search` for many texts at once. ``timings_ms`` are of the whole batch."""
        wanted, k, condition = check_fields(fields), check_k(k), filter_of(filter)
        if explain not in (None, "plan"):
            raise QueryError(f'explain={explain!r}; there is "plan"')
        _check_texts(queries)
        search_config(params)  # before anything is searched
        clock = _Clock()
        found = self._found(queries, max(k, self._num_candidates), condition, params, explain, clock)
        with clock.stage("fuse"):
            chosen = [self._chosen(found, query, k) for query in range(len(queries))]
        if self._refine:
            with clock.stage("refine"):
                places = [found.union(query) for query in range(len(queries))]
                chosen = rerank(found.vectors, found.prepared, places, k)
        with clock.stage("fetch"):
            snapshot = found.prepared.snapshot
            hits = [fetch(scored, snapshot, wanted) for scored in chosen]
        timings, partial = clock.told(), found.is_partial
        own = {"score": "exact" if self._refine else self._fusion, "stages_ms": timings}
        results = []
        for query, each in enumerate(hits):
            plan = {**found.told(query, chosen[query]), **own} if explain else None
            results.append(SearchResult(each, snapshot.generation, timings, partial, plan))
        return results

    def warm_up(self) -> None:
        """Load the encoders and read the texts now, so that the first query does not wait for it."""
        self._engine.warm_up()
        if self._dense is not None:
            self._dense.warm_up()
        if self._bm25 is not None:
            self._bm25.read(self._engine.located()[0].snapshot)

    def inspect(self) -> IndexInfo:
        """Facts about ``engine``."""
        return self._engine.inspect()

    # -- inside -------------------------------------------------------------------------------

    def _found(
        self,
        queries: Sequence[str],
        n: int,
        condition: Filter | None,
        params: SearchParams,
        explain: Literal["plan"] | None,
        clock: _Clock,
    ) -> Found:
        """What each generator offers, all of one commit of ``engine``."""
        engine, others = self._engine, list[SearchResult]()
        engine.warm_up()  # loading a model is not encoding
        if self._dense is not None:
            self._dense.warm_up()
            with clock.stage("dense"):
                given = {"filter": condition, "fields": (), "explain": explain}
                others = self._dense.search_batch(queries, n, **given)  # type: ignore[arg-type]
        prepared, places = engine.located(list({hit.id: None for some in others for hit in some}))
        snapshot = prepared.snapshot
        with clock.stage("encode"):
            vectors = query_vectors(queries, lambda: engine.encoder, engine.kind, snapshot.record.dim)
        with clock.stage("filter"):
            accept = accepted(snapshot, condition)
        with clock.stage("engine"):
            done = execute(vectors, prepared, accept, n, search_config(params), explain is not None)
        rankings: dict[Generator, list[list[Scored]]] = {"engine": done.results}
        if self._dense is not None:
            # Its filter has seen its own metadata; the engine's decides.
            rankings["dense"] = [placed(result, places, accept) for result in others]
        if self._bm25 is not None:
            with clock.stage("bm25"):
                rankings["bm25"] = self._bm25.candidates(queries, snapshot, accept, n)
        return Found(prepared, vectors, rankings, done, others)

    def _chosen(self, found: Found, query: int, k: int) -> list[Scored]:
        """The best ``k`` by the fused rankings."""
        mine = found.of(query)
        scores = [{one.id: one.score for one in ranking} for ranking in mine.values()]
        places = {one.id: (one.segment, one.ordinal) for ranking in mine.values() for one in ranking}
        fused = fuse(scores, [self._weights[name] for name in mine], self._fusion)
        return [Scored(doc_id, score, *places[doc_id]) for doc_id, score in fused[:k]]


class _Clock:
    """Milliseconds of each stage."""

    def __init__(self) -> None:
        self._started, self._stages = time.perf_counter(), dict[str, float]()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self._stages[name] = 1000 * (time.perf_counter() - started)

    def told(self) -> dict[str, float]:
        """All stages; ``search`` are those that search."""
        search = sum(ms for name, ms in self._stages.items() if name not in ("encode", "fetch"))
        return {**self._stages, "search": search, "total": 1000 * (time.perf_counter() - self._started)}


def _check_texts(queries: object) -> None:
    if isinstance(queries, str) or not isinstance(queries, Sequence):
        raise QueryError("search_batch takes a list of queries; for one use search")
    for query in queries:
        if not isinstance(query, str):
            raise QueryError(f"a hybrid search takes texts, which BM25 reads too, not {type(query).__name__}")


def _checked_fusion(how: str) -> Fusion:
    for known in get_args(Fusion):
        if how == known:
            fusion: Fusion = known
            return fusion
    raise ConfigError(f"fuse={how!r} is not known; there are: {', '.join(get_args(Fusion))}")


def _checked_weights(
    given: Mapping[Generator, float] | None, generators: Sequence[Generator]
) -> dict[Generator, float]:
    unknown = [name for name in given or {} if name not in generators]
    if unknown:
        raise ConfigError(f"weights name {unknown[0]!r}; this search has: {', '.join(generators)}")
    weights = {name: float((given or {}).get(name, 1.0)) for name in generators}
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"the weight of {name} is {weight}; it must be 0 or more")
    if not any(weights.values()):
        raise ConfigError("all weights are 0; one must be more")
    return weights
