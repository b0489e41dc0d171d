"""What the generators of a hybrid search offer, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.search import Accept, Executed, Place, Prepared, Scored
from retrieval.types import Ragged, SearchResult

__all__ = ["Found", "Generator", "Rankings", "in_order", "placed"]

Generator = Literal["engine", "dense", "bm25"]
Rankings = Mapping[Generator, Sequence[Sequence[Scored]]]
"""For each generator and each query of a batch documents, score descending, then id ascending."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rankings of each generator for each query of a batch, as documents of one commit of the engine.

    ``vectors`` are the queries', ``others`` those for the other engine; ``done`` is the engine's own search,
    ``dense`` are the answers of the other (none where there is no other).
    """

    prepared: Prepared
    texts: Sequence[str]
    vectors: Ragged
    others: Ragged
    rankings: Rankings
    done: Executed
    dense: Sequence[SearchResult]

    def of(self, query: int) -> dict[Generator, Sequence[Scored]]:
        """Each generator's ranking for a query."""
        return {name: rankings[query] for name, rankings in self.rankings.items()}

    def union(self, query: int) -> dict[str, Place]:
        """All that is offered for a query, by id."""
        return {one.id: (one.segment, one.ordinal) for some in self.of(query).values() for one in some}

    @property
    def is_partial(self) -> bool:
        """Whether something damaged was left out."""
        return bool(self.prepared.snapshot.damaged) or any(result.partial for result in self.dense)

    def told(self, query: int, chosen: Sequence[Scored]) -> dict[str, Any]:
        """As a JSON value: what each generator did for a query, and the rank at which it had each of those
        ``chosen`` (None: not among its candidates)."""
        rankings = self.of(query)
        generators: dict[str, dict[str, Any]] = {
            name: {"found": len(some)} for name, some in rankings.items()
        }
        generators["engine"] |= self.done.plan
        if self.dense:
            lost = len(self.dense[query]) - len(rankings["dense"])
            generators["dense"] |= {"not_in_engine": lost, **(self.dense[query].plan or {})}
        ranks = {name: {one.id: i for i, one in enumerate(some, 1)} for name, some in rankings.items()}
        hits = [{"id": one.id, **{name: ranks[name].get(one.id) for name in ranks}} for one in chosen]
        return {"generators": generators, "candidates": len(self.union(query)), "hits": hits}


def in_order(documents: Sequence[Scored]) -> list[Scored]:
    """Score descending, then id ascending."""
    return sorted(documents, key=lambda one: (-one.score, one.id))


def placed(result: SearchResult, places: Mapping[str, Place], accept: Accept) -> list[Scored]:
    """Hits of another index as documents of this one, those that are in it and accepted here too."""
    found = []
    for hit in result:
        if hit.id in places:
            segment, ordinal = places[hit.id]
            mask = accept[segment]
            if mask is None or mask[ordinal]:
                found.append(Scored(hit.id, hit.score, segment, ordinal))
    return found
