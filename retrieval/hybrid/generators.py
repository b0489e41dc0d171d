"""The generators of a hybrid search: what each offers, and its scores of what the others offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from retrieval.asked import SearchParams, search_config
from retrieval.engine import Engine
from retrieval.filters import Filter
from retrieval.hybrid.bm25 import BM25
from retrieval.hybrid.clock import Clock
from retrieval.hybrid.found import Found, Generator, Rankings, in_order, placed
from retrieval.queries import Query, query_vectors
from retrieval.search import Place, Scored, execute, rerank
from retrieval.types import FloatArray, Ragged, SearchResult

__all__ = ["Generators"]


class Generators:
    """An engine, and besides it another engine over the same documents, BM25 over its texts, or both."""

    def __init__(self, engine: Engine, dense: Engine | None, bm25: BM25 | None) -> None:
        self.engine, self._dense, self._bm25 = engine, dense, bm25
        used: dict[Generator, bool] = {"engine": True, "dense": dense is not None, "bm25": bm25 is not None}
        self.names = tuple(name for name, is_used in used.items() if is_used)

    def warm_up(self) -> None:
        """Load the encoders, and read the texts."""
        self.engine.warm_up()
        self._load_other()
        if self._bm25 is not None:
            self._bm25.read(self.engine.located()[0].snapshot)

    def _load_other(self) -> None:
        if self._dense is not None:
            self._dense.warm_up()

    def offer(
        self,
        texts: Sequence[str],
        given: Sequence[NDArray[Any]] | None,
        n: int,
        condition: Filter | None,
        params: SearchParams,
        explain: Literal["plan"] | None,
        clock: Clock,
    ) -> Found:
        """The best ``n`` of each generator for each text, all of one commit of the engine, which is asked
        with the vectors that are ``given``."""
        if given is None:
            self.engine.warm_up()  # loading a model is not encoding
        self._load_other()
        others, results = Ragged.from_list([], 0), list[SearchResult]()
        with clock.stage("encode"):
            vectors = _vectors(self.engine, texts if given is None else given)
            if self._dense is not None:
                others = _vectors(self._dense, texts)
        if self._dense is not None:
            with clock.stage("dense"):
                options: dict[str, Any] = {"filter": condition, "fields": (), "explain": explain}
                results = self._dense.search_batch(_each(others), n, **options)
        ids = dict.fromkeys(hit.id for result in results for hit in result)
        prepared, places = self.engine.located(list(ids))
        with clock.stage("filter"):
            accept = prepared.filters.accepted(condition)
        with clock.stage("engine"):
            done = execute(vectors, prepared, accept, n, search_config(params), explain is not None)
        rankings: dict[Generator, Sequence[Sequence[Scored]]] = {"engine": done.results}
        if self._dense is not None:
            # Its filter has seen its own metadata; the engine's decides.
            rankings["dense"] = [placed(result, places, accept) for result in results]
        if self._bm25 is not None:
            with clock.stage("bm25"):
                rankings["bm25"] = self._bm25.candidates(texts, prepared.snapshot, accept, n)
        return Found(prepared, texts, vectors, others, rankings, done, results)

    def complete(self, found: Found) -> Rankings:
        """The rankings, with each generator's score of what only others offer (which the other engine may
        not have)."""
        unions = [found.union(query) for query in range(len(found.texts))]
        completed: dict[Generator, Sequence[Sequence[Scored]]] = {}
        for name, rankings in found.rankings.items():
            missing = [
                {doc_id: place for doc_id, place in union.items() if doc_id not in own}
                for union, own in zip(unions, ({one.id for one in mine} for mine in rankings), strict=True)
            ]
            more = self._scored(name, found, missing)
            completed[name] = [in_order([*a, *b]) for a, b in zip(rankings, more, strict=True)]
        return completed

    def _scored(
        self, name: Generator, found: Found, documents: Sequence[Mapping[str, Place]]
    ) -> Sequence[Sequence[Scored]]:
        """A generator's scores of some documents of each query."""
        if name == "engine":
            return rerank(found.vectors, found.prepared, [some.values() for some in documents])
        if name == "bm25" and self._bm25 is not None:
            return self._bm25.rerank(found.texts, found.prepared.snapshot, documents)
        assert self._dense is not None  # it is one of the names
        return [
            [Scored(hit.id, hit.score, *some[hit.id]) for hit in self._dense.rerank(vectors, some, fields=())]
            for vectors, some in zip(_each(found.others), documents, strict=True)
        ]


def _each(vectors: Ragged) -> list[FloatArray]:
    return [vectors[i] for i in range(len(vectors))]


def _vectors(engine: Engine, queries: Sequence[Query]) -> Ragged:
    dim = engine.located()[0].snapshot.record.dim
    return query_vectors(queries, lambda: engine.encoder, engine.kind, dim)
