"""Which recipes suit an index: each is tried on a sample of its documents, against exact scores.

Nothing is written: the sample's documents are arranged in memory as a segment would be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.building import building, silent, teller
from retrieval.config import RecipeConfig
from retrieval.errors import CollapsedError, ConfigError
from retrieval.index import Probe, in_memory
from retrieval.kernels.maxsim.blas import maxsim_batch
from retrieval.presets import PRESETS
from retrieval.search import RecallCurve
from retrieval.storage import Snapshot, Trained
from retrieval.training.geometry import geometry_of
from retrieval.training.measure import measure
from retrieval.training.sample import sample_documents
from retrieval.training.train import fit
from retrieval.types import EncoderKind, FloatArray, IntArray, Ragged

__all__ = ["Trial", "candidates", "check_spread", "choose", "diagnose", "maxsim_spread", "tried"]

TRIED: Mapping[EncoderKind, tuple[str, ...]] = {
    "dense": ("fast", "accurate", "graph"),
    "late": ("tokens", "codes", "lemur", "muvera"),
}
"""Presets that are tried for each kind of encoder."""
KEPT = ("recall_target", "sample", "held_out", "seed")
"""What every recipe that is tried takes over from the one that was asked for."""
SHOWN_K = 10
SMALLEST_SPREAD = 1e-3
"""Standard deviation of MaxSim over documents, for a query token of length 1, below which documents are
told apart by noise; models that work spread by a few hundredths."""
SPREAD_QUERIES, SPREAD_DOCUMENTS = 32, 512
SAMPLE_DOCUMENTS, SAMPLE_TOKENS = 8192, 1 << 19
"""Documents that recipes are tried on at most, and their token vectors."""
GEOMETRY_SAMPLE = 16384


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe on the sample: the best ``recall`` at ``k`` that it reaches, the ``cost`` in milliseconds that
    the target takes here (None: it is not reached), and ``seconds`` to train, arrange and measure it;
    ``failed`` says why it could not be made."""

    name: str
    recipe: RecipeConfig
    k: int = SHOWN_K
    recall: float | None = None
    cost: float | None = None
    seconds: float = 0.0
    failed: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        changed = self.recipe.model_dump(mode="json", exclude_defaults=True)
        return {
            "name": self.name,
            "recipe": changed,
            "recall_target": self.recipe.recall_target,
            "k": self.k,
            "recall": self.recall,
            "cost_ms": self.cost,
            "seconds": self.seconds,
            "failed": self.failed,
        }


@dataclass
class _Sample:
    """A sample's documents as a segment that has been arranged."""

    codes: NDArray[Any]
    offsets: IntArray
    max_norm: float
    search: Probe | None
    live: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1


def candidates(kind: EncoderKind, asked: RecipeConfig) -> list[tuple[str, RecipeConfig]]:
    """The recipes that are tried, with the target, sample and seed of the one that was asked for."""
    kept = {name: getattr(asked, name) for name in KEPT}
    return [(name, RecipeConfig.of(**{**PRESETS[name], **kept})) for name in TRIED[kind]]


def tried(
    snapshot: Snapshot,
    sample: Ragged,
    queries: Ragged,
    recipes: Sequence[tuple[str, RecipeConfig]],
) -> list[Trial]:
    """Train each recipe on prepared documents and measure it with prepared queries."""
    trials, tell = list[Trial](), teller()
    for name, recipe in recipes:
        tell(f"try {name}", len(trials) / len(recipes))
        started = time.perf_counter()
        try:
            with building(tell=silent):  # its stages are parts of this one
                curve = _curve(snapshot, sample, queries, recipe)
        except ConfigError as error:
            trials.append(Trial(name, recipe, failed=str(error)))
            continue
        seconds = time.perf_counter() - started
        trials.append(_judged(Trial(name, recipe, seconds=seconds), curve))
    return trials


def _judged(trial: Trial, curve: RecallCurve) -> Trial:
    ks = {point.k for point in curve.points}
    if not ks:
        return trial
    k = SHOWN_K if SHOWN_K in ks else max(ks)
    choice = curve.choose(k, trial.recipe.recall_target)
    finding = curve.preparing + curve.pace * choice.finding
    cost = (finding + choice.effort.depth * choice.row_cost) / 1e6
    best = curve.best(k).recall
    return Trial(trial.name, trial.recipe, k, best, cost if choice.reached else None, trial.seconds)


def _curve(snapshot: Snapshot, sample: Ragged, queries: Ragged, recipe: RecipeConfig) -> RecallCurve:
    precision = snapshot.record.config["precision"]
    # Of codes alone, recipes are tried on what the codes say.
    # It overwrites the sample by what is stored of it: by itself, from the second recipe on.
    trained = fit(snapshot, sample, recipe, "float16" if precision == "residual" else precision, queries)
    codec, pipeline, offsets = trained.codec, trained.pipeline, sample.offsets
    assert pipeline is not None  # only exact has none
    arrays = {} if pipeline.keeps_nothing else in_memory(pipeline.arrange([sample], len(sample)))
    rows = codec.encode(sample.values)
    search = pipeline.attach(arrays, offsets, rows, codec)
    longest = float(np.linalg.norm(sample.values, axis=1).max(initial=0)) * (1 + 2.0**-10)
    view = _Sample(rows, offsets, longest, search)
    return measure([view], snapshot.record, Trained(codec, pipeline), queries)


def choose(trials: Sequence[Trial]) -> Trial | None:
    """The cheapest that reaches its target; where none does, the one of the highest recall."""
    reaching = [trial for trial in trials if trial.cost is not None]
    if reaching:
        return min(reaching, key=lambda trial: trial.cost or 0.0)
    measured = [trial for trial in trials if trial.recall is not None]
    return max(measured, key=lambda trial: trial.recall or 0.0, default=None)


def maxsim_spread(queries: Ragged, documents: Ragged) -> float:
    """Standard deviation of MaxSim over documents, divided by the length of the query's tokens together and
    by the mean length of the documents', mean over queries; of the first few of both."""
    n_q, n = min(len(queries), SPREAD_QUERIES), min(len(documents), SPREAD_DOCUMENTS)
    if n_q == 0 or n < 2:
        return 0.0
    asked = queries.offsets[: n_q + 1]
    values: FloatArray = queries.values[: asked[-1]]
    offsets = documents.offsets[: n + 1]
    scores = maxsim_batch(values, asked, documents.values[: offsets[-1]], offsets)
    owners = np.repeat(np.arange(n_q), np.diff(asked))
    lengths = np.bincount(owners, np.linalg.norm(values, axis=1), n_q)
    unit = float(np.linalg.norm(documents.values[: offsets[-1]], axis=1).mean()) if offsets[-1] else 1.0
    return float((scores.std(axis=1) / np.maximum(lengths * unit, 1e-30)).mean())


def check_spread(spread: float) -> None:
    """Refuse late vectors by which all documents score the same.

    Raises:
        CollapsedError: they do.
    """
    if spread < SMALLEST_SPREAD:
        raise CollapsedError(
            f"MaxSim of queries with documents spreads by {spread:.1g} a query token: all of them score "
            "the same; check the model and its prompts, or use --force (in Python: force=True)"
        )


def diagnose(snapshot: Snapshot, queries: Ragged, asked: RecipeConfig) -> dict[str, Any]:
    """The geometry of an index's vectors, and what each kind of recipe makes of a sample of its documents,
    measured with prepared queries: a JSON value."""
    teller()("sample", None)
    kind = snapshot.record.kind
    tokens = SAMPLE_TOKENS if kind == "late" else None
    sample = sample_documents(snapshot, SAMPLE_DOCUMENTS, asked.seed, tokens)
    told: dict[str, Any] = {
        "documents": len(sample),
        "tokens": len(sample.values),
        "geometry": geometry_of(sample.values[:: max(1, len(sample.values) // GEOMETRY_SAMPLE)]).to_json(),
    }
    if kind == "late":
        told["maxsim_spread"] = maxsim_spread(queries, sample)
    trials = tried(snapshot, sample, queries, candidates(kind, asked))
    best = choose(trials)
    told["trials"] = [trial.to_json() for trial in trials]
    told["chosen"] = None if best is None else best.name
    return told
