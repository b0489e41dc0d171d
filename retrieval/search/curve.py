"""The recall that was measured when an index was trained, and the effort that a target needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from retrieval.errors import IndexDamagedError
from retrieval.index import Effort

__all__ = ["ROW_COST", "Choice", "CurvePoint", "RecallCurve", "document_cost"]

CODE_COST = 1.0
ROW_COST = 40.0
VISIT_COST = 60.0
"""Nanoseconds, of which only the ratios matter: to estimate one code, to look up one stored vector,
and, of graphs that do not say what a walk costs (those of before), one of its width. Measured by bench.ann;
the same everywhere, so that one index is searched in one way."""
BYTE_COST, HALF_COST, WORD_COST, CODED_COST = 18.0, 58.0, 60.0, 250.0
"""Nanoseconds for 32 query tokens and a stored token of 128 dimensions of one, two or four bytes, or of one
that has to be decoded first. Measured by bench.kernels."""
OTHERWISE = 250_000.0
"""Nanoseconds of a search that neither find candidates nor refine them."""
GROWN = 1.5
"""Times more documents than were measured from which on the curve says too little."""
MARGIN = 1.0
"""Standard errors that the measured recall must lie above the target."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Recall at ``k`` of one effort: mean over the pseudo-queries, its standard error, and codes
    ``scanned`` a query. ``work`` is what finding the candidates costs, where that is not the same for every
    code (tokens, graphs), and ``scored`` is as in `Effort`."""

    k: int
    nprobe: int
    ef_search: int
    depth: int
    recall: float
    error: float
    scanned: float
    scored: int = 0
    work: float | None = None

    @property
    def finding(self) -> float:
        """Nanoseconds by the model above, until there are candidates."""
        if self.work is not None:
            return self.work
        return self.scanned * (VISIT_COST if self.ef_search else CODE_COST)

    def cost(self, row_cost: float = ROW_COST) -> float:
        """Nanoseconds with refining the candidates, each of which takes ``row_cost``."""
        return self.finding + self.depth * row_cost

    @property
    def safe_recall(self) -> float:
        """The recall less its margin."""
        return self.recall - MARGIN * self.error


@dataclass(frozen=True, slots=True)
class Choice:
    """An effort, the recall measured with it, nanoseconds of ``finding`` candidates among all documents and
    of refining one (``row_cost``); ``reached`` says whether the recall is the target's."""

    effort: Effort
    recall: float | None
    finding: float
    row_cost: float
    reached: bool


@dataclass(frozen=True)
class RecallCurve:
    """Points for several ``k``, measured on ``documents`` with ``queries`` pseudo-queries; ``nlist`` is
    how many lists or centroids there are (1 where there are none). ``row_cost`` is what refining one
    document costs, ``pace`` how many nanoseconds one of the model's for finding took where this was measured,
    and ``preparing`` how many went into making a query's tokens one vector."""

    documents: int
    queries: int
    nlist: int
    points: tuple[CurvePoint, ...]
    row_cost: float = ROW_COST
    pace: float = 1.0
    preparing: float = 0.0

    def grown(self, documents: int) -> float:
        """How many times more documents there are now, 1 for hardly more."""
        ratio = documents / max(self.documents, 1)
        return ratio if ratio > GROWN else 1.0

    def choose(
        self,
        k: int,
        target: float,
        selectivity: float = 1.0,
        documents: int = 0,
        budget_ms: float | None = None,
    ) -> Choice:
        """The cheapest effort whose measured recall at ``k`` reaches ``target``, with a margin; of those
        that stay within ``budget_ms``, if none of them does, the one of the highest recall.

        A filter that accepts the share ``selectivity`` spreads the best ``k`` accepted documents over
        as many lists as the best ``k / selectivity`` of all, and where these end, scores lie closer together:
        as many times ``k`` are refined as there. A walk through a graph is widened by its segment, as each
        accepts another share: it costs so much more. Where there are many more ``documents`` than were
        measured, both are stretched as much: nothing is promised then.
        """
        growth = self.grown(documents)
        budget = math.inf if budget_ms is None else budget_ms * 1e6
        deep, scale = self._choose(k, target, budget)
        wide, stretch = deep, scale
        if not deep.ef_search:
            wide, stretch = self._choose(math.ceil(k / max(selectivity, 1e-9)), target, budget)
        scale, stretch, share = scale * growth, stretch * growth, k * growth / wide.k
        effort = Effort(
            depth=max(k, math.ceil(max(deep.depth * scale, wide.depth * share))),
            nprobe=min(math.ceil(wide.nprobe * stretch), self.nlist),
            ef_search=math.ceil(wide.ef_search * stretch),
            accepted=0.0 if selectivity >= 1 else min(1.0, wide.scanned * stretch / max(self.documents, 1)),
            scored=math.ceil(max(deep.scored * scale, wide.scored * share)),
        )
        finding = wide.finding * stretch / (max(selectivity, 1e-9) if wide.ef_search else 1.0)
        if wide.work is None:  # no more codes than there are
            most = max(documents, self.documents)
            finding = min(finding, wide.finding / max(wide.scanned, 1.0) * most)
        reached = min(deep.safe_recall, wide.safe_recall) >= target
        return Choice(effort, min(deep.recall, wide.recall), finding, self.row_cost, reached)

    def _choose(self, k: int, target: float, budget: float) -> tuple[CurvePoint, float]:
        """The point for the nearest larger ``k`` measured; beyond the largest, by how much to stretch it."""
        measured = sorted({point.k for point in self.points})
        at = next((known for known in measured if known >= k), measured[-1])
        points = [point for point in self.points if point.k == at]
        within = [point for point in points if self._taken(point) <= budget]
        if not within:
            return min(points, key=self._taken), max(1.0, k / at)
        reaching = [point for point in within if point.safe_recall >= target]
        if reaching:
            best = min(reaching, key=lambda point: (self._cost(point), -point.recall))
        else:
            best = max(within, key=lambda point: (point.recall, -self._cost(point)))
        return best, max(1.0, k / at)

    def _cost(self, point: CurvePoint) -> float:
        return point.cost(self.row_cost)

    def _taken(self, point: CurvePoint) -> float:
        """Nanoseconds that a search took about where this was measured."""
        return self.preparing + self.pace * point.finding + point.depth * self.row_cost + OTHERWISE

    def best(self, k: int) -> CurvePoint:
        """The point of the highest recall at the measured ``k``."""
        return max((p for p in self.points if p.k == k), key=lambda point: (point.recall, -self._cost(point)))

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        points = [asdict(point) for point in self.points]
        return {
            "documents": self.documents,
            "queries": self.queries,
            "nlist": self.nlist,
            "row_cost": self.row_cost,
            "pace": self.pace,
            "preparing": self.preparing,
            "points": points,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            IndexDamagedError: it is not what this version writes.
        """
        try:
            points = tuple(CurvePoint(**point) for point in stored["points"])
            rest = {name: float(stored[name]) for name in ("row_cost", "pace", "preparing") if name in stored}
            return cls(stored["documents"], stored["queries"], stored["nlist"], points, **rest)
        except (KeyError, TypeError) as error:
            raise IndexDamagedError(
                f"the stored recall curve cannot be read ({error}); retrain the index"
            ) from None


def document_cost(tokens: float, query_tokens: float, dim: int, itemsize: int) -> float:
    """Nanoseconds to score a late document by its stored tokens, by the model above: ``tokens`` of ``dim``
    numbers of ``itemsize`` bytes, 0 for residual codes."""
    per_token = {0: CODED_COST, 1: BYTE_COST, 2: HALF_COST}.get(itemsize, WORD_COST)
    return tokens * per_token * (query_tokens / 32) * (dim / 128)


def frontier(points: Iterable[CurvePoint], row_cost: float = ROW_COST) -> Sequence[CurvePoint]:
    """Of each ``k`` the points that no cheaper one matches, by cost."""
    kept: list[CurvePoint] = []
    for point in sorted(points, key=lambda point: (point.k, point.cost(row_cost), -point.recall)):
        if not kept or kept[-1].k != point.k or point.recall > kept[-1].recall:
            kept.append(point)
    return kept
