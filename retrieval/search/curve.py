"""The recall that was measured when an index was trained, and the effort that a target needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from retrieval.errors import IndexDamagedError
from retrieval.index import Effort

__all__ = ["Choice", "CurvePoint", "RecallCurve"]

CODE_COST = 1.0
ROW_COST = 40.0
VISIT_COST = 60.0
"""Nanoseconds, of which only the ratios matter: to estimate one code, to look up one stored vector,
and to visit a node of a graph. Measured by bench.ann; the same everywhere, so that one index is
searched in one way."""
GROWN = 1.5
"""Times more documents than were measured from which on the curve says too little."""
MARGIN = 1.0
"""Standard errors that the measured recall must lie above the target."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Recall at ``k`` of one effort: mean over the pseudo-queries, its standard error, and codes
    ``scanned`` a query."""

    k: int
    nprobe: int
    ef_search: int
    depth: int
    recall: float
    error: float
    scanned: float

    @property
    def cost(self) -> float:
        """Nanoseconds by the model above."""
        per_code = VISIT_COST if self.ef_search else CODE_COST
        return self.scanned * per_code + self.depth * ROW_COST

    @property
    def safe_recall(self) -> float:
        """The recall less its margin."""
        return self.recall - MARGIN * self.error


@dataclass(frozen=True, slots=True)
class Choice:
    """An effort, the recall measured with it, the codes it scans and their ``share`` of all; ``reached``
    says whether the recall is the target's."""

    effort: Effort
    recall: float
    scanned: float
    share: float
    reached: bool


@dataclass(frozen=True)
class RecallCurve:
    """Points for several ``k``, measured on ``documents`` with ``queries`` pseudo-queries; ``nlist`` is
    how many lists there are (1 where there are none)."""

    documents: int
    queries: int
    nlist: int
    points: tuple[CurvePoint, ...]

    def grown(self, documents: int) -> float:
        """How many times more documents there are now, 1 for hardly more."""
        ratio = documents / max(self.documents, 1)
        return ratio if ratio > GROWN else 1.0

    def choose(self, k: int, target: float, selectivity: float = 1.0, documents: int = 0) -> Choice:
        """The cheapest effort whose measured recall at ``k`` reaches ``target``, with a margin.

        A filter that accepts the share ``selectivity`` spreads the best ``k`` accepted documents over
        as many lists as the best ``k / selectivity`` of all; how deep to refine depends on ``k`` alone.
        Where there are many more ``documents`` than were measured, both are stretched as much: nothing
        is promised then.
        """
        growth = self.grown(documents)
        deep, scale = self._choose(k, target)
        wide, stretch = self._choose(math.ceil(k / max(selectivity, 1e-9)), target)
        scale, stretch = scale * growth, stretch * growth
        probes = math.ceil(wide.nprobe * stretch)
        share = min(1.0, stretch * wide.nprobe / max(wide.nprobe, 1))
        effort = Effort(
            depth=max(k, math.ceil(deep.depth * scale)),
            nprobe=min(probes, self.nlist),
            ef_search=math.ceil(wide.ef_search * stretch),
            accepted=0.0 if selectivity >= 1 else min(1.0, wide.scanned * stretch / max(self.documents, 1)),
        )
        recall = min(deep.recall, wide.recall)
        scanned = min(float(self.documents), wide.scanned * max(share, stretch))
        of_all = scanned / max(self.documents, 1)
        return Choice(effort, recall, scanned, of_all, min(deep.safe_recall, wide.safe_recall) >= target)

    def _choose(self, k: int, target: float) -> tuple[CurvePoint, float]:
        """The point for the nearest larger ``k`` measured; beyond the largest, by how much to stretch it."""
        measured = sorted({point.k for point in self.points})
        at = next((known for known in measured if known >= k), measured[-1])
        points = [point for point in self.points if point.k == at]
        reaching = [point for point in points if point.safe_recall >= target]
        if reaching:
            best = min(reaching, key=lambda point: (point.cost, -point.recall))
        else:
            best = max(points, key=lambda point: (point.recall, -point.cost))
        return best, max(1.0, k / at)

    def best(self, k: int) -> CurvePoint:
        """The point of the highest recall at the measured ``k``."""
        return max((p for p in self.points if p.k == k), key=lambda point: (point.recall, -point.cost))

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        points = [asdict(point) for point in self.points]
        return {"documents": self.documents, "queries": self.queries, "nlist": self.nlist, "points": points}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            IndexDamagedError: it is not what this version writes.
        """
        try:
            points = tuple(CurvePoint(**point) for point in stored["points"])
            return cls(stored["documents"], stored["queries"], stored["nlist"], points)
        except (KeyError, TypeError) as error:
            raise IndexDamagedError(
                f"the stored recall curve cannot be read ({error}); retrain the index"
            ) from None


def frontier(points: Iterable[CurvePoint]) -> Sequence[CurvePoint]:
    """Of each ``k`` the points that no cheaper one matches, by cost."""
    kept: list[CurvePoint] = []
    for point in sorted(points, key=lambda point: (point.k, point.cost, -point.recall)):
        if not kept or kept[-1].k != point.k or point.recall > kept[-1].recall:
            kept.append(point)
    return kept
