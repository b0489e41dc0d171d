"""The engine: one object to create, fill, search and explain an index.

Engine.build("my-index", open_corpus("docs.jsonl"), "minilm")
with Engine.open("my-index") as engine:
    for hit in engine.search("who built the first telescope?", k=5):
        print(hit.score, hit.id, hit.text)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from retrieval.asked import FilterLike, filter_to_delete
from retrieval.build import BuildReport, Ingest
from retrieval.building import building, holding_blas, silent
from retrieval.config import EncoderConfig, IndexConfig, RecipeConfig, RuntimeConfig
from retrieval.contents import asked_ids
from retrieval.copies import CopyReport, export_index, snapshot_index
from retrieval.corpus import ErrorPolicy
from retrieval.encode import Encoder, GivenVectors, load_encoder
from retrieval.encode.base import check_encoder
from retrieval.encode.documents import check_pooling
from retrieval.errors import ConfigError, QueryError
from retrieval.filters import Filter
from retrieval.index import prepare_queries
from retrieval.lifecycle import begin_build, check_target, create_index
from retrieval.maintenance import Maintenance, MaintenanceReport
from retrieval.quantize import GivenCodec, check_precision
from retrieval.queries import Query
from retrieval.reader import Reader
from retrieval.search import accepted, accepted_ids
from retrieval.storage import Catalog
from retrieval.trainable import check_residual, check_trainable, is_trained, is_trained_later, taking
from retrieval.training import Conversion, diagnose, pseudo_queries
from retrieval.types import (
    Document,
    Precision,
    ProgressCallback,
    Record,
    TrainingProgress,
    TrainingReport,
)
from retrieval.writer import Writer

__all__ = ["Engine", "FilterLike"]


class Engine(Reader):
    """An open index, to read and to change. Safe to share between threads; every search sees one
    commit as a whole, and every change is one.

    ``path`` is the index's folder, ``kind`` says whether it holds one vector a text (``dense``)
    or one a token (``late``).
    """

    def __init__(
        self,
        root: Path,
        encoder: Encoder | None,
        runtime: RuntimeConfig | None,
        *,
        skip_damaged: bool = False,
    ) -> None:
        super().__init__(root, encoder, runtime, skip_damaged=skip_damaged)
        runtime = runtime or RuntimeConfig.of()
        self._runtime_threads = runtime.threads
        limits = runtime.pending_documents, runtime.pending_bytes
        self._writer = Writer(root, self._catalog, *limits, skip_damaged=skip_damaged)
        self._maintenance = Maintenance(root, self._writer, self._snapshots, runtime)

    # -- making and opening -------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoder | EncoderConfig | str,
        *,
        config: IndexConfig | None = None,
        runtime: RuntimeConfig | None = None,
    ) -> Self:
        """Make an empty index, ready for `add`. A recipe, or int8, is trained by the first `compact`.

        Raises:
            ConfigError: a recipe or a pooling that does not fit this encoder.
            IndexExistsError: there is an index, or another file or folder, at ``path``.
        """
        check_target(Path(path))
        known, config = _resolve(encoder, runtime), config or IndexConfig.of()
        check_trainable(config, known.kind, known.dim)
        check_pooling(config.pooling, known)
        create_index(Path(path), known, config)
        return cls(Path(path), known, runtime)

    @classmethod
    def build(
        cls,
        path: str | Path,
        corpus: Iterable[Document | Record],
        encoder: Encoder | EncoderConfig | str,
        *,
        config: IndexConfig | None = None,
        runtime: RuntimeConfig | None = None,
        resume: bool = False,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
        queries: Sequence[Query] | None = None,
        force: bool = False,
        codec: GivenCodec | None = None,
        training_progress: TrainingProgress = silent,
    ) -> BuildReport:
        """Build an index from a corpus (`open_corpus`, or any iterable of documents).

        Commits as it goes; a killed build is continued by the same call with ``resume=True`` and
        gives the same index as one that was never interrupted. A build that fails before its
        first commit leaves nothing behind.

        Where the configuration's recipe, or int8, has to be trained, that is done when all documents
        are in; killed then, the index is whole and searched exactly, and ``resume=True`` trains it, from the
        start, by another recipe if that is what it is given.
        ``queries`` (texts or vectors of real ones) are what recipes are fitted and measured with;
        without them, spans of the documents. ``force`` trains even on vectors that hardly differ.
        ``codec`` was trained elsewhere (`pq_from_arrays`, `int8_from_arrays`, `bits_from_arrays`, for the
        index tokens `residual_from_arrays`) and takes the place of the recipe's; one of int8, with the
        precision int8 and index exact or tokens, that of the calibration.

        Raises:
            CollapsedError: they hardly differ; the index is there, and searched exactly.
            IndexExistsError: a complete index is there and ``resume`` is False.
            IndexUnfinishedError: an unfinished one is there and ``resume`` is False.
            DataError: a document cannot be used and the policy is ``stop``.
            ConfigError: a recipe or a pooling that does not fit this encoder; nothing was encoded.
        """
        check_target(Path(path), resume=resume)  # before a model is loaded
        known = _resolve(encoder, runtime)
        config = taking(config or IndexConfig.of(), codec, known.dim)
        check_trainable(config, known.kind, known.dim)
        check_pooling(config.pooling, known)
        if queries is not None and not is_trained_later(config):
            raise ConfigError("queries are for a recipe to learn from, and there is none; choose a preset")
        with begin_build(Path(path), known, config, resume) as catalog:
            report = Ingest(Path(path), catalog, known, _policy_of(corpus, policy), progress).build(corpus)
        if not is_trained_later(config):
            return report
        with cls.open(path, known, runtime=runtime) as engine:
            try:
                training = engine._train(config, queries, codec, force=force, tell=training_progress)
            except ConfigError as error:
                told = f"the documents are in {path} and searched exactly; compact it with another recipe"
                raise ConfigError(f"{error}; {told}") from None
        return replace(report, training=training)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: Encoder | EncoderConfig | str | None = None,
        *,
        runtime: RuntimeConfig | None = None,
        skip_damaged: bool = False,
    ) -> Self:
        """Open an index. Without ``encoder``, the one it was built with is loaded when a text
        first needs it (or by `warm_up`). A name says where that model is now; its options stay.

        With ``skip_damaged`` the index can be read, not written, although parts of it are damaged:
        every byte is checked first, ``damaged`` tells what is left out, and results are ``partial``.

        Raises:
            IndexNotFoundError, IndexUnfinishedError, IndexFormatError, IndexDamagedError
            EncoderMismatchError: ``encoder`` is not the one the index was built with.
        """
        root = Path(path)
        if isinstance(encoder, str):
            # The same model at another place: its options are those of the index.
            with Catalog.open(root) as catalog:
                stored = catalog.codec().encoder or {}
            encoder = EncoderConfig.of(**{**stored, "name": encoder})
        known = None if encoder is None else _resolve(encoder, runtime)
        return cls(root, known, runtime, skip_damaged=skip_damaged)

    # -- writing ------------------------------------------------------------------------------

    def add(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
    ) -> BuildReport:
        """Add documents in one commit: when this returns they are durable and the next search
        sees them; if it raises, none was added.

        Raises:
            DataError: an id is in the index already, or a document cannot be used.
            IndexLockedError: another process is writing.
        """
        return self._put(documents, policy, progress, replace=False)

    def upsert(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
    ) -> BuildReport:
        """As `add`, but a document takes the place of the one with its id, if there is one; of
        several with the same id the last counts."""
        return self._put(documents, policy, progress, replace=True)

    def _put(
        self,
        documents: Iterable[Document | Record],
        policy: ErrorPolicy | None,
        progress: ProgressCallback | None,
        *,
        replace: bool,
    ) -> BuildReport:
        self._check_open()
        self._writer.check_writable()  # before a model is loaded
        chosen, encoder = _policy_of(documents, policy), self.encoder
        with building(self._runtime_threads):  # what goes to segments at once is coded
            report = self._writer.put(documents, encoder, chosen, progress, replace=replace)
        self._maintenance.wake()
        return report

    def delete(self, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Delete documents by id, or all that a filter accepts, in one commit. Returns how many.

        Ids that are not there are not counted. No later search finds a deleted document; its room
        is given back by merges.

        Raises:
            QueryError: neither or both of ``ids`` and ``filter``, or one that cannot be used; a filter
                without conditions is taken for a mistake.
            IndexLockedError: another process is writing.
        """
        self._check_open()
        if (ids is None) == (filter is None):
            raise QueryError("delete takes either ids or a filter")
        if isinstance(ids, Mapping | Filter):
            raise QueryError("the ids to delete are a list of strings; give a filter as filter=...")
        if ids is not None:
            deleted = self._writer.delete(asked_ids(ids, "delete"))
        elif filter is not None:
            wanted = filter_to_delete(filter)
            with self._writer.session() as catalog:
                snapshot = self._snapshots.latest()
                found = accepted_ids(snapshot, accepted(snapshot, wanted))
                deleted = self._writer.delete_in(catalog, found)
        self._maintenance.wake()
        return deleted

    def flush(self) -> int:
        """Write the pending documents as a segment now; returns how many there were."""
        self._check_open()
        return self._maintenance.fold()

    def maintain(self) -> MaintenanceReport:
        """Do now what is due of the upkeep that otherwise goes on in the background."""
        self._check_open()
        return self._maintenance.run()

    def compact(
        self,
        precision: Precision | None = None,
        *,
        recipe: RecipeConfig | None = None,
        retrain: bool = False,
        queries: Sequence[Query] | None = None,
        force: bool = False,
        codec: GivenCodec | None = None,
        progress: TrainingProgress = silent,
    ) -> MaintenanceReport:
        """Make one segment of everything, without deleted documents.

        With a ``precision``, convert the stored vectors to it (what a lower one loses, a higher one does
        not bring back). With a ``recipe``, train it on the documents there are and find them by it
        from then on; ``retrain`` trains the recipe that is there. ``queries``, ``force`` and
        ``codec`` as for `build`.

        Raises:
            ConfigError: no such precision, or a recipe that does not fit.
            CollapsedError: the vectors hardly differ.
            IndexLockedError: another process is writing or merging.
        """
        self._check_open()
        if precision is not None:
            check_precision(precision)  # before anything is folded
        now = IndexConfig.of(**self._catalog.meta("config"))
        wanted = now.replace(precision=precision or now.precision, recipe=recipe or now.recipe)
        wanted = taking(wanted, codec, self._record.dim)
        check_trainable(wanted, self.kind, self._record.dim)
        check_residual(self._catalog.codec(), wanted, retrain=retrain or codec is not None)
        if not retrain and codec is None and is_trained(self._catalog.codec(), wanted):
            if queries is not None:
                raise ConfigError("queries are to train with, and nothing is to be trained; add --retrain")
            return self._maintenance.compact(force=force)
        return self._maintenance.compact(self._conversion(wanted, queries, codec, force), progress)

    def _conversion(
        self, wanted: IndexConfig, queries: Sequence[Query] | None, codec: GivenCodec | None, force: bool
    ) -> Conversion:
        vectors = None
        if queries is not None:
            metric = self._record.metric
            vectors = prepare_queries(self._query_vectors(queries), metric)
        return Conversion(wanted.stored_precision, wanted.recipe, vectors, self._encoder_if_any, force, codec)

    def diagnose(
        self, queries: Sequence[Query] | None = None, *, progress: TrainingProgress = silent
    ) -> dict[str, Any]:
        """Look at the geometry of the vectors and try recipes on a sample of the documents: a report as a
        JSON value, with the recall and cost of each. Nothing is changed. ``queries`` as for `build`."""
        self._check_open()
        snapshot, recipe = self._latest().snapshot, RecipeConfig.of(index="auto")
        if queries is not None:
            asked = prepare_queries(self._query_vectors(queries), snapshot.record.metric)
        else:
            asked = pseudo_queries(snapshot, self._encoder_if_any(), recipe.held_out, recipe.seed)
        with building(self._runtime_threads, progress), holding_blas():
            return diagnose(snapshot, asked, recipe)

    def _train(
        self,
        config: IndexConfig,
        queries: Sequence[Query] | None,
        codec: GivenCodec | None,
        *,
        force: bool,
        tell: TrainingProgress,
    ) -> TrainingReport | None:
        """Train what a build left open; nothing, if that has been done."""
        if is_trained(self._catalog.codec(), config):
            return None
        return self._maintenance.compact(self._conversion(config, queries, codec, force), tell).training

    def _encoder_if_any(self) -> Encoder | None:
        """The encoder, for pseudo-queries; None where a caller's own is not at hand, or there is none."""
        given = GivenVectors.of(self._record.encoder_fingerprint)
        if given is not None or (self._encoder is None and self._record.encoder is None):
            return None
        return self.encoder

    def snapshot(self, target: str | Path) -> CopyReport:
        """Copy the last commit to a new folder, while others read and write; see `snapshot_index`."""
        return snapshot_index(self.path, target)

    def export(self, file: str | Path) -> CopyReport:
        """Write the last commit to one file; see `export_index`, and `import_index` for the way back."""
        return export_index(self.path, file)

    def close(self) -> None:
        """Close the index; a merge in the background is given up. Results already returned stay valid."""
        self._maintenance.stop()
        self._writer.wait()  # many documents are looked up by the reader, until the last is encoded
        super().close()
        self._writer.close()  # last: a connection for reading cannot fold SQLite's log into the file


def _resolve(encoder: Encoder | EncoderConfig | str, runtime: RuntimeConfig | None) -> Encoder:
    if isinstance(encoder, str | EncoderConfig):
        return load_encoder(encoder, runtime)
    return check_encoder(encoder)


def _policy_of(source: object, given: ErrorPolicy | None) -> ErrorPolicy | None:
    """One policy for the reader and the engine: whoever was given it shares it."""
    own = getattr(source, "policy", None)
    if own is not None and given is not None and own is not given:
        raise ConfigError(
            "the corpus and the engine were given two different policies; pass the same object to both"
        )
    return given or own
