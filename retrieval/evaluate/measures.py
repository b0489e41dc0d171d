"""Measures of ranking quality, as values: ``nDCG@10``, ``R@100``, ``MAP``, ``MRR@10``.

The arithmetic is trec_eval's, through ir_measures and pytrec_eval. One detour: ir_measures sends
``RR@k`` to MS MARCO's script, which breaks ties the other way round than trec_eval does; here it
is trec_eval's reciprocal rank, cut at k, so that all measures of a run see the same order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from retrieval.errors import ConfigError, DataError, MissingExtraError
from retrieval.evaluate.beir import Qrels
from retrieval.evaluate.runs import Run

__all__ = ["DEFAULT_MEASURES", "Measure", "Measured", "load_backend", "measure", "parse_measures"]

EXAMPLES = "nDCG@10, R@100, MAP, MRR@10, AP@100, P@10, Success@5, P(rel=2)@10"
FULL_DEPTH = 1000
"""How deep a measure without a cutoff looks: MAP is over the top 1,000."""

# Spelling (lower case) -> ir_measures' name.
_FAMILIES = {
    "ndcg": "nDCG",
    "r": "R",
    "recall": "R",
    "ap": "AP",
    "map": "AP",
    "rr": "RR",
    "mrr": "RR",
    "p": "P",
    "precision": "P",
    "success": "Success",
}
_PRINTED = {"AP": "MAP", "RR": "MRR"}
_NEEDS_CUTOFF = ("R", "P", "Success")
_PATTERN = re.compile(r"(?P<family>[A-Za-z]+)(\(rel=(?P<rel>[0-9]+)\))?(@(?P<cutoff>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class Measure:
    """What to measure. ``family`` is ir_measures' name; ``rel`` the lowest relevant grade."""

    family: str
    cutoff: int | None = None
    rel: int = 1

    @classmethod
    def parse(cls, text: str) -> Measure:
        """Read ``nDCG@10``, ``MAP`` (or ``AP``), ``MRR@10`` (or ``RR@10``), ``P(rel=2)@10`` ...

        Raises:
            ConfigError: not a measure; the message gives examples.
        """
        match = _PATTERN.fullmatch(text.strip())
        family = _FAMILIES.get(match["family"].lower()) if match else None
        if match is None or family is None:
            raise ConfigError(f"unknown measure {text!r}; write one like {EXAMPLES}")
        cutoff = int(match["cutoff"]) if match["cutoff"] else None
        if cutoff == 0 or (cutoff is None and family in _NEEDS_CUTOFF):
            raise ConfigError(f"measure {text!r} needs a cutoff of 1 or more, like {family}@10")
        rel = int(match["rel"]) if match["rel"] else 1
        if match["rel"] and (family == "nDCG" or rel == 0):
            raise ConfigError(
                f"measure {text!r}: rel= is the lowest relevant grade (1 or more) of a measure "
                "other than nDCG, which weighs every grade"
            )
        return cls(family, cutoff, rel)

    @property
    def name(self) -> str:
        """As it is printed: ``nDCG@10``, ``MAP``, ``MRR@10``."""
        rel = f"(rel={self.rel})" if self.rel != 1 else ""
        cutoff = f"@{self.cutoff}" if self.cutoff else ""
        return f"{_PRINTED.get(self.family, self.family)}{rel}{cutoff}"

    @property
    def depth(self) -> int:
        """How many hits of a query it looks at."""
        return self.cutoff or FULL_DEPTH


DEFAULT_MEASURES = tuple(Measure.parse(text) for text in ("nDCG@10", "R@100", "MAP", "MRR@10"))


@dataclass(frozen=True, slots=True)
class Measured:
    """Means under the measures' printed names, and the values behind them."""

    mean: dict[str, float]
    """Over all judged queries; one that the run does not answer counts zero (trec_eval -c)."""
    mean_over_answered: dict[str, float]
    """Over the judged queries with at least one hit; empty if there are none."""
    per_query: dict[str, dict[str, float]]
    """Query id -> measure -> value, for every judged query."""
    answered: int
    """Judged queries with at least one hit."""


def parse_measures(measures: Iterable[str | Measure]) -> tuple[Measure, ...]:
    """Parse names where needed; each measure once, in the order given.

    Raises:
        ConfigError: an unknown measure, or none at all.
    """
    parsed = [one if isinstance(one, Measure) else Measure.parse(one) for one in measures]
    if not parsed:
        raise ConfigError(f"no measure given; name one like {EXAMPLES}")
    return tuple(dict.fromkeys(parsed))


def measure(qrels: Qrels, run: Run, measures: Iterable[str | Measure] = DEFAULT_MEASURES) -> Measured:
    """Measure a run as trec_eval would: by scores as float32, ties by document id descending.

    Queries of the run that are not judged are left out.

    Raises:
        ConfigError: an unknown measure.
        DataError: no judgements, or a document twice in one ranking.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    measures = parse_measures(measures)
    if not qrels:
        raise DataError("there are no judgements to measure with")
    scores = {query_id: _scores(query_id, run[query_id]) for query_id in qrels if run.get(query_id)}
    per_query: dict[str, dict[str, float]] = {query_id: {} for query_id in qrels}
    for name, values in _calculate(qrels, scores, measures):
        for query_id, value in values.items():
            per_query[query_id][name] = value
    return Measured(
        mean=_means(per_query, list(qrels), measures),
        mean_over_answered=_means(per_query, list(scores), measures),
        per_query=per_query,
        answered=len(scores),
    )


def _scores(query_id: str, ranking: list[tuple[str, float]]) -> dict[str, float]:
    scores = {doc_id: float(score) for doc_id, score in ranking}
    if len(scores) != len(ranking):
        raise DataError(f"the ranking of query {query_id!r} holds a document twice")
    if not all(map(math.isfinite, scores.values())):
        raise DataError(f"the ranking of query {query_id!r} holds a score that is not finite")
    return scores


def _calculate(
    qrels: Qrels, scores: Mapping[str, Mapping[str, float]], measures: tuple[Measure, ...]
) -> list[tuple[str, dict[str, float]]]:
    """Each measure's printed name with its value for every judged query."""
    ir_measures = load_backend()
    # RR@10 and RR@100 are the same trec_eval measure, cut in two places: asked for once.
    backend = {one: _backend_measure(ir_measures, one) for one in measures}
    values: dict[Any, dict[str, float]] = {name: {} for name in backend.values()}
    evaluator = ir_measures.pytrec_eval.evaluator(list(values), _without_negative(qrels))
    for metric in evaluator.iter_calc(dict(scores)):
        values[metric.measure][metric.query_id] = float(metric.value)
    return [(one.name, _cut(one, values[name])) for one, name in backend.items()]


def _without_negative(qrels: Qrels) -> Qrels:
    """Grades below zero as zero: not relevant either way to these measures, and trec_eval's
    nDCG without a cutoff runs off its table of grades (in practice for ever) on a negative one."""
    return {
        query_id: {doc_id: max(grade, 0) for doc_id, grade in judged.items()}
        for query_id, judged in qrels.items()
    }


def _backend_measure(ir_measures: Any, one: Measure) -> Any:
    found = getattr(ir_measures, one.family)
    if one.rel != 1:
        found = found(rel=one.rel)
    return found @ one.cutoff if one.cutoff and one.family != "RR" else found


def _cut(one: Measure, values: dict[str, float]) -> dict[str, float]:
    """Zero for a reciprocal rank beyond the cutoff; other measures are cut already."""
    if one.family != "RR" or one.cutoff is None:
        return values
    cutoff = one.cutoff
    return {
        query_id: value if value > 0 and round(1 / value) <= cutoff else 0.0
        for query_id, value in values.items()
    }


def _means(
    per_query: Mapping[str, Mapping[str, float]], query_ids: list[str], measures: tuple[Measure, ...]
) -> dict[str, float]:
    if not query_ids:
        return {}
    names = [one.name for one in measures]
    return {name: math.fsum(per_query[q][name] for q in query_ids) / len(query_ids) for name in names}


def load_backend() -> Any:
    """Import what measures; called early, so that nothing is built and searched in vain.

    Raises:
        MissingExtraError: the extra ``eval`` is not installed.
    """
    try:
        import ir_measures
        import pytrec_eval  # noqa: F401  (ir_measures needs it, and would only say "not available")
    except ImportError:
        raise MissingExtraError("evaluation", "eval") from None
    return ir_measures
