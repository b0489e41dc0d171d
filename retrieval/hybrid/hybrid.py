"""Several ways to find documents, one ranking: an engine, a second one, and BM25 over the texts.

with Engine.open("late-index") as engine:
    for hit in Hybrid(engine).search("lift of thin wings", k=5):
        print(hit.score, hit.id, hit.text)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from retrieval.asked import FilterLike, SearchParams, filter_of, search_config
from retrieval.engine import Engine
from retrieval.errors import ConfigError, QueryError
from retrieval.hybrid.bm25 import BM25
from retrieval.hybrid.clock import Clock
from retrieval.hybrid.found import Found, Generator, Rankings
from retrieval.hybrid.fusion import Fusion, fuse
from retrieval.hybrid.generators import Generators
from retrieval.queries import check_k
from retrieval.search import Scored, check_fields, fetch
from retrieval.storage import IndexInfo
from retrieval.types import SearchResult

__all__ = ["Hybrid", "Scoring"]

Scoring = Fusion | Literal["engine"]
"""How documents are ranked: by fused rankings, or by the engine alone."""


class Hybrid:
    """Search by several generators at once. Safe to share between threads; engines stay the caller's.

    Each query is answered from the union of ``num_candidates`` documents of each generator: ``engine``
    (late or dense, by its recipe), ``dense``, another engine over the same documents, and BM25 over the
    texts of ``engine``. Documents are those of ``engine``'s newest commit: what only ``dense`` has is left
    out.

    With ``refine`` each generator then scores all of the union exactly (``engine`` from its stored vectors:
    MaxSim, where it is late); without, only what it found itself. ``fuse`` and ``weights`` (by generator, 1
    where none is given) say how the rankings become one, see `retrieval.hybrid.fusion`. With
    ``fuse="engine"`` the others only find documents, and hits have ``engine``'s scores.

    ``language`` is that of the texts, for BM25: a name that Snowball knows, or ``none`` (`BM25`). Give a
    `BM25` of ``engine`` instead of True to count its terms once for several of these; its language is its
    own.

    Raises:
        ConfigError: nothing to combine, or a setting that cannot work.
        MissingExtraError: BM25 in a language, and the extra ``hybrid`` is not installed.
    """

    def __init__(
        self,
        engine: Engine,
        dense: Engine | None = None,
        *,
        bm25: bool | BM25 = True,
        fuse: Scoring = "minmax",
        weights: Mapping[Generator, float] | None = None,
        refine: bool = True,
        num_candidates: int = 100,
        language: str = "english",
    ) -> None:
        words = bm25 if isinstance(bm25, BM25) else BM25(language) if bm25 else None
        self._generators = Generators(engine, dense, words)
        names = self._generators.names
        if len(names) < 2:
            raise ConfigError("there is one generator and nothing to combine; give dense, or bm25=True")
        self._fusion, self._weights = _checked_fusion(fuse), _checked_weights(weights, names)
        if fuse == "engine" and not refine:
            raise ConfigError(
                'fuse="engine" scores what the others found by the engine; it needs refine=True'
            )
        if num_candidates < 1:
            raise ConfigError(f"num_candidates={num_candidates} must be 1 or more")
        self._refine, self._num_candidates = refine, num_candidates

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        vectors: NDArray[Any] | None = None,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
    ) -> SearchResult:
        """The best ``k`` documents for a text, as `Engine.search`; ``params`` are for ``engine``.

        ``vectors`` are those of the query for ``engine``, which then encodes nothing: for one of given
        vectors (`GivenVectors`). The other generators read the text.

        There are fewer hits than ``k`` where the generators find fewer. ``explain="plan"`` tells how each
        generator searched and how many it found, and for each hit at which rank each of them had it.

        Raises:
            QueryError: a query that is no text, or empty; ``k`` below 1; an unknown field.
            FilterError: a filter that cannot be read or does not fit the fields of an engine.
            ConfigError: parameters that cannot work.
        """
        given = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        own = None if vectors is None else [vectors]
        return self.search_batch([query], k, vectors=own, **given)[0]  # type: ignore[arg-type]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        vectors: Sequence[NDArray[Any]] | None = None,
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
        if vectors is not None and len(vectors) != len(queries):
            raise QueryError(f"there are {len(queries)} queries, and vectors of {len(vectors)}")
        search_config(params)  # before anything is searched
        clock, n = Clock(), max(k, self._num_candidates)
        found = self._generators.offer(queries, vectors, n, condition, params, explain, clock)
        with clock.stage("refine"):
            rankings = self._generators.complete(found) if self._refine else found.rankings
        with clock.stage("fuse"):
            chosen = [self._fused(found, rankings, query, k) for query in range(len(queries))]
        with clock.stage("fetch"):
            snapshot = found.prepared.snapshot
            hits = [fetch(scored, snapshot, wanted) for scored in chosen]
        timings, partial = clock.told(), found.is_partial
        own = {"fuse": self._fusion, "refine": self._refine, "stages_ms": timings}
        results = []
        for query, each in enumerate(hits):
            plan = {**found.told(query, chosen[query]), **own} if explain else None
            results.append(SearchResult(each, snapshot.generation, timings, partial, plan))
        return results

    def warm_up(self) -> None:
        """Load the encoders and read the texts now, so that the first query does not wait for it."""
        self._generators.warm_up()

    def inspect(self) -> IndexInfo:
        """Facts about ``engine``."""
        return self._generators.engine.inspect()

    # -- inside -------------------------------------------------------------------------------

    def _fused(self, found: Found, rankings: Rankings, query: int, k: int) -> list[Scored]:
        """The best ``k`` for one query."""
        if self._fusion == "engine":
            return list(rankings["engine"][query][:k])
        names, places = self._generators.names, found.union(query)
        scores = [{one.id: one.score for one in rankings[name][query]} for name in names]
        fused = fuse(scores, [self._weights[name] for name in names], self._fusion)
        return [Scored(doc_id, score, *places[doc_id]) for doc_id, score in fused[:k]]


def _check_texts(queries: object) -> None:
    if isinstance(queries, str) or not isinstance(queries, Sequence):
        raise QueryError("search_batch takes a list of queries; for one use search")
    for query in queries:
        if not isinstance(query, str):
            raise QueryError(f"a hybrid search takes texts, which BM25 reads too, not {type(query).__name__}")


def _checked_fusion(how: Scoring) -> Scoring:
    known = (*get_args(Fusion), "engine")
    if how not in known:
        raise ConfigError(f"fuse={how!r} is not known; there are: {', '.join(known)}")
    return how


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
