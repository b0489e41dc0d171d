"""Another codec generation for an index that is there: train, write every segment anew, measure, swap.

Writers wait until it is done; readers see the old generation until then. Killed at any moment it
leaves the index as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.building import holding_blas, teller
from retrieval.config import IndexConfig, RecipeConfig
from retrieval.encode import Encoder
from retrieval.errors import ConfigError, IndexFolderError
from retrieval.index import Pipeline
from retrieval.quantize import GivenCodec, ResidualCodec
from retrieval.quantize.residual.training import choose_ncentroids
from retrieval.reduce import held_out_error
from retrieval.registering import merged_record, register_merged
from retrieval.storage import (
    FEATURE,
    STRAIN,
    Catalog,
    CodecRecord,
    SegmentReader,
    SegmentView,
    SegmentWriter,
    Snapshot,
    Trained,
    map_array,
    remove_segments,
    remove_trained,
    write_merged,
    write_trained,
)
from retrieval.training import (
    candidates,
    check_geometry,
    check_memory,
    check_spread,
    diagnose,
    fit,
    geometry_of,
    held_out_split,
    maxsim_spread,
    measure,
    pseudo_queries,
    sample_documents,
    shortfall,
)
from retrieval.types import Precision, Ragged, TrainingReport

__all__ = ["Conversion", "convert"]

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


def convert(root: Path, catalog: Catalog, snapshot: Snapshot, asked: Conversion) -> TrainingReport:
    """Make the new generation of everything in ``snapshot``; the caller holds both locks, and says with
    `building` on how many threads and whom to tell.

    Raises:
        ConfigError: a recipe that does not fit these vectors, or without ``force`` this machine.
        CollapsedError: vectors that do not tell documents apart, without ``force``.
    """
    with holding_blas():
        return _Converting(root, catalog, snapshot, asked).run()


class _Converting:
    def __init__(self, root: Path, catalog: Catalog, snapshot: Snapshot, asked: Conversion) -> None:
        self._root, self._catalog, self._snapshot = root, catalog, snapshot
        self._asked = asked
        self._config = IndexConfig.of(**catalog.meta("config"))
        self._recipe = asked.recipe or self._config.recipe
        self._precision: Precision = asked.precision or snapshot.record.config["precision"]
        self._generation = snapshot.record.codec + 1
        self._held_out = np.empty((0, snapshot.record.dim), dtype=np.float32)

    def run(self) -> TrainingReport:
        started = time.perf_counter()
        trained, quality = self._train()
        files = None
        try:
            config = {"precision": self._precision, **write_trained(self._root, self._generation, trained)}
            files = self._write(trained)
            warnings: list[str] = []
            if trained.pipeline is not None:
                config |= {"recipe": self._recipe.model_dump(mode="json")}
                config["quality"] = quality | self._measured(files, trained, config, warnings)
        except BaseException:
            with suppress(IndexFolderError):  # what remains, the next writer removes
                remove_trained(self._root, self._generation)
            if files is not None:
                files.abandon()
            raise
        # A commit that fails or is interrupted may have happened: only `clear_leftovers` can tell.
        self._commit(files, self._record(trained, config))
        self._clean(files)
        return TrainingReport(config.get("quality"), tuple(warnings), time.perf_counter() - started)

    def _write(self, trained: Trained) -> SegmentWriter:
        """Everything as one segment of the new generation."""
        snapshot, total, tell = self._snapshot, max(len(self._snapshot), 1), teller()
        return write_merged(
            self._root,
            int(self._catalog.meta("next_number")),
            snapshot,
            snapshot.segments,
            trained=trained,
            written=lambda done: tell("write the segment", done / total),
        )

    def _train(self) -> tuple[Trained, dict[str, Any]]:
        """Fit on a sample, after a look at its geometry."""
        snapshot, recipe = self._snapshot, self._recipe
        if recipe.index == "exact" and self._precision not in ("int8", "residual"):
            return fit(snapshot, sample_documents(snapshot, 0, 0), recipe, self._precision, None), {}
        told: dict[str, Any] = {}
        if recipe.index == "auto":
            recipe = self._recipe = self._chosen(told)
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
        return fit(snapshot, sample, recipe, self._precision, queries, self._asked.codec), told

    def _chosen(self, told: dict[str, Any]) -> RecipeConfig:
        """What the doctor finds best on a sample; his report goes to ``told``."""
        asked = self._recipe
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
            spread = maxsim_spread(self._queries(SPREAD_QUERIES, self._recipe.seed + 4), sample)
            told["maxsim_spread"] = spread
            if not self._asked.force:
                check_spread(spread)

    def _sample_tokens(self, documents: int) -> int:
        """Token vectors to train on: enough for the centroids, and no more than memory should hold."""
        there = sum(int(view.offsets[-1]) for view in self._snapshot.segments)
        wanted = TOKENS_A_CENTROID * (self._recipe.ncentroids or choose_ncentroids(there, there))
        return int(np.clip(wanted, min(documents, LEAST_TOKENS), MOST_TOKENS))

    def _queries(self, size: int, seed: int, *, to_train: bool = False) -> Ragged:
        """Real queries where they were given (if anything learns from them: half to train, half to
        measure), else pseudo-queries."""
        given = self._asked.queries
        if given is not None and len(given):
            if not _learns_from_queries(self._recipe) or len(given) == 1:
                return _some(given, range(len(given))[:size])
            return _some(given, range(len(given))[0 if to_train else 1 :: 2][:size])
        return pseudo_queries(self._snapshot, self._asked.encoder(), size, seed)

    def _measured(
        self, files: SegmentWriter, trained: Trained, config: dict[str, Any], warnings: list[str]
    ) -> dict[str, Any]:
        """The recall curve on the new segment, before anybody can search it."""
        teller()("pseudo-queries", None)
        queries = self._queries(self._recipe.held_out, self._recipe.seed + 2)
        record = merged_record(files, files.origins, self._generation, 0)
        view = SegmentView(SegmentReader(self._root, record, trained))
        new = self._record(trained, config)
        curve = measure([view] if view.search is not None else [], new, trained, queries)
        if curve.points:
            warnings += shortfall(curve, self._recipe, self._precision)
        strain: dict[str, Any] = {}
        if record.has_file(STRAIN):
            strain = {"strain": float(map_array(self._root, record.file(STRAIN))[0])}
        before = self._snapshot.record.quality or {}
        if trained.codec is self._snapshot.codec and isinstance(trained.codec, ResidualCodec):
            strain = {"strain": before.get("strain")}  # the codes that are there were not trained now
        rest = strain | self._reduction(trained, queries)
        return {"curve": curve.to_json(), "documents": len(view), **rest}

    def _reduction(self, trained: Trained, queries: Ragged) -> dict[str, Any]:
        """What the reducer loses on documents that it was not fitted on."""
        reducer = trained.pipeline.reducer if isinstance(trained.pipeline, Pipeline) else None
        if reducer is None or not len(self._held_out) or not len(queries):
            return {}
        return {"reducer": asdict(held_out_error(reducer, self._held_out, queries.values))}

    def _record(self, trained: Trained, config: dict[str, Any]) -> CodecRecord:
        return replace(self._snapshot.record, codec=self._generation, name=trained.codec.name, config=config)

    def _commit(self, files: SegmentWriter, record: CodecRecord) -> None:
        catalog, snapshot = self._catalog, self._snapshot
        config = self._config.replace(precision=self._precision, recipe=self._recipe)
        with catalog.transaction("convert") as generation:
            catalog.take_number()
            catalog.set_meta("config", config.as_json())
            catalog.keep_built()
            catalog.register.clear_pending()
            catalog.remove_segments([view.number for view in snapshot.segments])
            for view in snapshot.segments:
                catalog.register.clear_tombstones(view.origins, snapshot.generation)
            catalog.replace_codecs(record, [FEATURE] if record.files else [])
            register_merged(catalog, files, files.origins, record.codec, generation)

    def _clean(self, files: SegmentWriter) -> None:
        if not files.n_documents:
            files.abandon()
        remove_segments(self._root, [view.number for view in self._snapshot.segments])
        with suppress(IndexFolderError):
            remove_trained(self._root, self._snapshot.record.codec)


def _learns_from_queries(recipe: RecipeConfig) -> bool:
    return any(word in recipe.reduce for word in LEARNERS)


def _some(queries: Ragged, chosen: Sequence[int]) -> Ragged:
    return Ragged.from_list([queries[i] for i in chosen], queries.dim)
