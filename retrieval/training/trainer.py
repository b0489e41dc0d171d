"""A conversion's teacher: what is trained on a snapshot's documents, and how good it then is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrieval.building import teller
from retrieval.config import IndexConfig, RecipeConfig
from retrieval.encode import Encoder
from retrieval.errors import ConfigError
from retrieval.index import Pipeline
from retrieval.quantize import GivenCodec, ResidualCodec
from retrieval.quantize.residual.training import choose_ncentroids
from retrieval.reduce import held_out_error
from retrieval.storage import CodecRecord, SegmentView, Snapshot, Trained
from retrieval.training.advice import shortfall
from retrieval.training.doctor import candidates, check_spread, diagnose, maxsim_spread
from retrieval.training.geometry import check_geometry, geometry_of
from retrieval.training.measure import measure
from retrieval.training.memory import check_memory
from retrieval.training.queries import pseudo_queries
from retrieval.training.sample import held_out_split, sample_documents
from retrieval.training.train import fit
from retrieval.types import Precision, Ragged

__all__ = ["Conversion", "Trainer"]

TRAINING_QUERIES = 1024
GEOMETRY_SAMPLE = 16384
CALIBRATION_SAMPLE = 65536
TOKENS_A_CENTROID, LEAST_TOKENS, MOST_TOKENS = 40, 1 << 17, 1 << 22
"""Token vectors to train on, and from and to how many whatever the centroids."""
SPREAD_QUERIES = 32
FEW_DOCUMENTS = 16
"""Documents below which the spread of scores says nothing."""
LEARNERS = ("leanvec", "lemur")
"""Reducers that learn from queries."""


@dataclass(frozen=True)
class Conversion:
    """What is asked for: another ``precision`` of the stored vectors, another ``recipe``; None keeps.

    ``queries`` are real ones, prepared; ``encoder`` makes pseudo-queries of
    documents' texts where there are none (called when it is needed; gives None if there is none).
    ``force``: even if the vectors do not tell documents apart, or memory seems too small. ``codec``: one
    that was trained elsewhere (`fit`).
    """

    precision: Precision | None = None
    recipe: RecipeConfig | None = None
    queries: Ragged | None = None
    encoder: Callable[[], Encoder | None] = lambda: None
    force: bool = False
    codec: GivenCodec | None = None


class Trainer:
    """Trains what is ``asked`` for on the documents of ``snapshot``; ``config`` is the index's own.

    ``recipe`` and ``precision`` are what comes of it; of ``index=auto`` the recipe that was chosen.
    """

    def __init__(self, snapshot: Snapshot, config: IndexConfig, asked: Conversion) -> None:
        self._snapshot, self._asked = snapshot, asked
        self.recipe = asked.recipe or config.recipe
        self.precision: Precision = asked.precision or snapshot.record.config["precision"]
        self._held_out = np.empty((0, snapshot.record.dim), dtype=np.float32)

    def train(self) -> tuple[Trained, dict[str, Any]]:
        """Fit on a sample, after a look at its geometry."""
        snapshot, recipe = self._snapshot, self.recipe
        if recipe.index == "exact" and self.precision not in ("int8", "residual"):
            return fit(snapshot, sample_documents(snapshot, 0, 0), recipe, self.precision, None), {}
        told: dict[str, Any] = {}
        if recipe.index == "auto":
            recipe = self.recipe = self._chosen(told)
        if not self._asked.force:
            check_memory(len(snapshot), snapshot.record.dim, recipe)
        teller()("sample", None)
        size = CALIBRATION_SAMPLE if recipe.index == "exact" else recipe.sample
        tokens = None if snapshot.record.kind == "dense" else self._sample_tokens(size)
        sample = sample_documents(snapshot, size, recipe.seed, tokens)
        self._look_at(sample, told)
        queries = None
        if _learns_from_queries(recipe):
            teller()("pseudo-queries", None)
            queries = self._queries(TRAINING_QUERIES, recipe.seed + 1, to_train=True)
        teller()("train", None)
        if snapshot.record.kind == "dense":
            values, self._held_out = held_out_split(sample.values, is_needed=recipe.reduce != "none")
            sample = Ragged.from_matrix(values)
        return fit(snapshot, sample, recipe, self.precision, queries, self._asked.codec), told

    def _chosen(self, told: dict[str, Any]) -> RecipeConfig:
        """What the doctor finds best on a sample; his report goes to ``told``."""
        asked = self.recipe
        queries = self._queries(asked.held_out, asked.seed + 3)
        report = told["doctor"] = diagnose(self._snapshot, queries, asked)
        if report["chosen"] is None:
            failed = "; ".join(f"{trial['name']}: {trial['failed']}" for trial in report["trials"])
            raise ConfigError(f"no recipe could be made of these documents ({failed}); use the preset exact")
        return dict(candidates(self._snapshot.record.kind, asked))[report["chosen"]]

    def _look_at(self, sample: Ragged, told: dict[str, Any]) -> None:
        """The geometry of the sample; refused where it has collapsed."""
        geometry = geometry_of(sample.values[:: max(1, len(sample.values) // GEOMETRY_SAMPLE)])
        told["geometry"] = geometry.to_json()
        if not self._asked.force:
            check_geometry(geometry)
        if self._snapshot.record.kind == "late" and len(sample) >= FEW_DOCUMENTS:
            spread = maxsim_spread(self._queries(SPREAD_QUERIES, self.recipe.seed + 4), sample)
            told["maxsim_spread"] = spread
            if not self._asked.force:
                check_spread(spread)

    def _sample_tokens(self, documents: int) -> int:
        """Token vectors to train on: enough for the centroids, and no more than memory should hold."""
        there = sum(int(view.offsets[-1]) for view in self._snapshot.segments)
        wanted = TOKENS_A_CENTROID * (self.recipe.ncentroids or choose_ncentroids(there, there))
        return int(np.clip(wanted, min(documents, LEAST_TOKENS), MOST_TOKENS))

    def _queries(self, size: int, seed: int, *, to_train: bool = False) -> Ragged:
        """Real queries where they were given (if anything learns from them: half to train, half to
        measure), else pseudo-queries."""
        given = self._asked.queries
        if given is not None and len(given):
            if not _learns_from_queries(self.recipe) or len(given) == 1:
                return _some(given, range(len(given))[:size])
            return _some(given, range(len(given))[0 if to_train else 1 :: 2][:size])
        return pseudo_queries(self._snapshot, self._asked.encoder(), size, seed)

    def measured(
        self,
        view: SegmentView,
        strain: float | None,
        trained: Trained,
        record: CodecRecord,
        warnings: list[str],
    ) -> dict[str, Any]:
        """The recall curve on a new segment, before anybody can search it. ``strain`` is what was found of
        the segment when it was arranged; ``record`` describes ``trained``."""
        teller()("pseudo-queries", None)
        queries = self._queries(self.recipe.held_out, self.recipe.seed + 2)
        curve = measure([view] if view.search is not None else [], record, trained, queries)
        if curve.points:
            warnings += shortfall(curve, self.recipe, self.precision)
        before = self._snapshot.record.quality or {}
        if trained.codec is self._snapshot.codec and isinstance(trained.codec, ResidualCodec):
            strain = before.get("strain")  # the codes that are there were not trained now
        told = {} if strain is None else {"strain": strain}
        return {"curve": curve.to_json(), "documents": len(view), **told, **self._reduction(trained, queries)}

    def _reduction(self, trained: Trained, queries: Ragged) -> dict[str, Any]:
        """What the reducer loses on documents that it was not fitted on."""
        reducer = trained.pipeline.reducer if isinstance(trained.pipeline, Pipeline) else None
        if reducer is None or not len(self._held_out) or not len(queries):
            return {}
        return {"reducer": asdict(held_out_error(reducer, self._held_out, queries.values))}


def _learns_from_queries(recipe: RecipeConfig) -> bool:
    return any(word in recipe.reduce for word in LEARNERS)


def _some(queries: Ragged, chosen: Sequence[int]) -> Ragged:
    return Ragged.from_list([queries[i] for i in chosen], queries.dim)
