"""An index and its model side by side: each step does the same to both and compares.

A step is a method with plain arguments; the steps taken are kept as lines of Python, so that a failure
can be replayed. `random_step` chooses steps and arguments with any `random.Random`: a seeded one, or
Hypothesis's, which shrinks.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retrieval import (
    Document,
    Engine,
    ErrorPolicy,
    IndexConfig,
    RecipeConfig,
    RuntimeConfig,
    SearchConfig,
    maintenance,
)
from retrieval.copies import export_index, import_index, snapshot_index
from retrieval.encode.base import encode_queries
from retrieval.errors import (
    ConfigError,
    DataError,
    DocumentNotFoundError,
    FilterError,
    IndexLockedError,
    QueryError,
)
from retrieval.filters import Filter
from retrieval.search import accepted, check_fields, execute, fetch
from retrieval.storage import Snapshot, write_merged
from retrieval.types import SearchResult
from tests.property.model import EXACT, Model, Refused, UnknownField, Untrainable, near

PROBE = "red sea"
"""The query that every change is followed by."""
EVERYTHING = SearchConfig(nprobe=10**6, num_candidates=10**6, ef_search=10**6)
"""Probe, with all the effort there is: then a trained search answers as an exact one."""
HARDLY = SearchConfig(nprobe=1, num_candidates=1, ef_search=1, num_scored=1)


@dataclass(frozen=True)
class Limits:
    """How an index is kept; small numbers make much happen early."""

    pending_documents: int = 4
    segment_documents: int = 3
    precision: str = "float32"
    maintenance: str = "manual"
    recipes: bool = True
    """Whether it is to be trained now and then."""


class Machine:
    """Two engines on one index, and the model. ``who`` chooses the engine that takes a step."""

    def __init__(self, folder: Path, encoder: Any, limits: Limits) -> None:
        self.folder, self.encoder, self.limits = folder, encoder, limits
        self.model = Model(encoder, limits.precision)
        self.trace: list[str] = []
        self._held: list[tuple[Snapshot, Model]] = []
        self._copies = 0
        self._generation = 0
        self._is_merging = False
        self._root = folder / "index"
        config = IndexConfig.of(segment_documents=limits.segment_documents, precision=limits.precision)
        Engine.create(self._root, encoder, config=config).close()
        self._engines = [self._open(), self._open()]

    def _open(self) -> Engine:
        runtime = RuntimeConfig.of(
            maintenance=self.limits.maintenance, pending_documents=self.limits.pending_documents
        )
        return Engine.open(self._root, self.encoder, runtime=runtime)

    def close(self) -> None:
        """Close the index and remove it."""
        for engine in self._engines:
            engine.close()
        shutil.rmtree(self.folder)

    def step(self, name: str, *arguments: Any, **options: Any) -> None:
        """Take a step and compare; a failure tells all the steps that led to it."""
        told = [repr(argument) for argument in arguments]
        told += [f"{option}={value!r}" for option, value in options.items()]
        self.trace.append(f"machine.{name}({', '.join(told)})")
        try:
            getattr(self, name)(*arguments, **options)
        except Exception as error:
            made = f"machine = Machine(folder, encoder, {self.limits!r})  # {self.encoder.metric}"
            error.add_note("\n".join([made, *self.trace]))
            raise

    @property
    def _is_quiet(self) -> bool:
        """Whether nothing but the steps changes the index."""
        return self.limits.maintenance == "manual"

    # -- writing ------------------------------------------------------------------------------

    def put(self, documents: Sequence[Document], *, replace: bool, skip: bool = False, who: int = 0) -> None:
        """Add or upsert."""
        engine, policy = self._engines[who], ErrorPolicy("skip" if skip else "stop")
        write = engine.upsert if replace else engine.add
        try:
            taken, replaced = self.model.put(documents, replace=replace, skip=skip)
        except Refused:
            with pytest.raises(DataError):
                write(documents, policy=policy)
        else:
            report = write(documents, policy=policy)
            if len(documents) <= self.limits.pending_documents:
                assert (report.documents, report.replaced) == (taken, replaced)
        self._check(1 - who)

    def delete(self, ids: Sequence[str], *, who: int = 0) -> None:
        """Delete by ids."""
        assert self._engines[who].delete(ids) == self.model.delete(ids)
        self._check(1 - who)

    def delete_where(self, given: Filter, *, who: int = 0) -> None:
        """Delete by a filter."""
        engine = self._engines[who]
        if given.is_empty:
            with pytest.raises(QueryError, match="would delete every document"):
                engine.delete(filter=given)
            return
        try:
            gone = self.model.accepted(given)
        except UnknownField:
            with pytest.raises(FilterError):
                engine.delete(filter=given)
        else:
            assert engine.delete(filter=given) == self.model.delete(gone)
        self._check(1 - who)

    # -- upkeep, which changes no answer ------------------------------------------------------

    def flush(self, *, who: int = 0) -> None:
        """Fold what is pending."""
        self._engines[who].flush()
        if self._is_quiet:
            assert not self._engines[who].flush(), "something was left to be folded"
        self._check(1 - who)

    def maintain(self, *, who: int = 0) -> None:
        """What is due."""
        self._engines[who].maintain()
        if self._is_quiet:
            report = self._engines[who].maintain()
            assert (report.folded, report.merges) == (0, 0), "something was left to be done"
        self._check(1 - who)

    def compact(
        self,
        precision: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        *,
        retrain: bool = False,
        who: int = 0,
    ) -> None:
        """One segment, perhaps with other vectors or found by another recipe."""
        engine, twin = self._engines[who], self.model.copy()
        # The model calls a recipe by what differs from the defaults; few questions measure it.
        wanted = None if recipe is None else RecipeConfig.of(**{"held_out": 8, **recipe})
        try:
            converted = twin.convert(precision, recipe, retrain=retrain)
        except Untrainable:
            with pytest.raises((ConfigError, IndexLockedError)):
                engine.compact(precision, recipe=wanted, retrain=retrain, force=True)  # type: ignore[arg-type]
            return self._check(1 - who)
        try:
            report = engine.compact(precision, recipe=wanted, retrain=retrain, force=True)  # type: ignore[arg-type]
        except IndexLockedError:
            assert self._is_merging or not self._is_quiet, "nobody else is at work"
            return None
        assert not self._is_merging, "two merge at a time"
        assert (report.training is not None) == converted
        self.model = twin
        if self._is_quiet:
            assert report.segments == min(len(self.model.documents), 1)
            assert engine.inspect().deleted == 0
        told = engine.inspect()
        assert (told.precision, (told.recipe or EXACT)["index"]) == (twin.precision, twin.recipe["index"])
        self._check(1 - who)

    def merge_beside(self, steps: Sequence[tuple[Any, ...]], *, who: int = 0) -> None:
        """Compact, while the other engine takes steps between the merge's writing and its commit."""
        self._engines[who].flush()
        with pytest.MonkeyPatch.context() as patch:

            def interrupted(*arguments: Any, **options: Any) -> Any:
                written = write_merged(*arguments, **options)
                patch.undo()
                self._is_merging = True
                for name, *rest in steps:
                    getattr(self, name)(*rest, who=1 - who)
                self._is_merging = False
                return written

            patch.setattr(maintenance, "write_merged", interrupted)
            self._engines[who].compact()
        self._check(1 - who)

    def add(self, documents: Sequence[Document], *, who: int = 0) -> None:
        """Add, leaving out what cannot be."""
        self.put(documents, replace=False, skip=True, who=who)

    def upsert(self, documents: Sequence[Document], *, who: int = 0) -> None:
        """Upsert, leaving out what cannot be."""
        self.put(documents, replace=True, skip=True, who=who)

    def reopen(self, *, who: int = 0) -> None:
        """Close one engine and open it again."""
        self._engines[who].close()
        self._engines[who] = self._open()
        self._check(who)

    def move(self, *, as_file: bool) -> None:
        """Copy the index, check the copy, and go on with it instead of the index."""
        self._copies += 1
        target = self.folder / f"copy{self._copies}"
        if as_file:
            export_index(self._root, self.folder / "exported")
            import_index(self.folder / "exported", target)
            (self.folder / "exported").unlink()
        else:
            snapshot_index(self._root, target)
        for engine in self._engines:
            engine.close()
        shutil.rmtree(self._root)
        self._root, self._generation = target, 0
        self._engines = [self._open(), self._open()]
        self._check(0)
        self.verify()

    # -- reading ------------------------------------------------------------------------------

    def search(
        self, query: str, k: int, given: Filter | None = None, *, bare: bool = False, who: int = 0
    ) -> None:
        """Search, perhaps filtered."""
        engine, fields = self._engines[who], () if bare else None
        try:
            self.model.accepted(given)
        except UnknownField:
            with pytest.raises(FilterError):
                engine.search(query, k, filter=given, fields=fields)
            return
        result = engine.search(query, k, filter=given, fields=fields)
        assert result.generation >= self._generation, "an older commit than was seen before"
        self._generation = result.generation
        self.model.check_hits(query, k, given, result.hits, bare)
        if self.model.recipe != EXACT:
            probed = engine.search(query, k, filter=given, fields=fields, params=EVERYTHING, explain="plan")
            assert probed.hits == result.hits, "probing with all effort finds something else"
            self._check_probed(probed)

    def _check_probed(self, probed: SearchResult) -> None:
        """All that lies in segments was searched by the recipe, unless nothing of it was accepted."""
        assert probed.plan is not None
        if self._is_quiet and probed.plan["segments"].get("exact", 0) > 1:
            raise AssertionError(f"not probed: {probed.plan}")

    def search_hardly(self, query: str, k: int, given: Filter | None = None, *, who: int = 0) -> None:
        """With the least effort there is: as many answers all the same, and right scores."""
        engine = self._engines[who]
        try:
            self.model.accepted(given)
        except UnknownField:
            return
        result = engine.search(query, k, filter=given, params=HARDLY)
        is_exact = self.model.recipe == EXACT
        self.model.check_hits(query, k, given, result.hits, bare=False, are_best=is_exact)

    def count(self, given: Filter | None = None, *, who: int = 0) -> None:
        """Count the accepted; the filter goes in as JSON."""
        wanted = None if given is None else given.to_json()
        try:
            expected = len(self.model.accepted(given))
        except UnknownField:
            with pytest.raises(FilterError):
                self._engines[who].count(wanted)
        else:
            assert self._engines[who].count(wanted) == expected

    def facets(self, field: str, given: Filter | None, limit: int, *, who: int = 0) -> None:
        """Count values."""
        try:
            expected = self.model.facets(field, given, limit)
        except UnknownField:
            with pytest.raises(FilterError):
                self._engines[who].facets(field, filter=given, limit=limit)
        else:
            assert self._engines[who].facets(field, filter=given, limit=limit) == expected

    def get(self, doc_id: str, *, who: int = 0) -> None:
        """Get a document, or be told that there is none."""
        engine, document = self._engines[who], self.model.documents.get(doc_id)
        if document is None:
            with pytest.raises(DocumentNotFoundError):
                engine.get(doc_id)
            return
        found = engine.get(doc_id)
        assert (found.id, found.title, found.text) == (doc_id, document.title, document.text)

    def explain(self, query: str, doc_id: str, *, who: int = 0) -> None:
        """Take a score apart."""
        engine = self._engines[who]
        if doc_id not in self.model.documents:
            with pytest.raises(DocumentNotFoundError):
                engine.explain(query, doc_id)
            return
        why = engine.explain(query, doc_id)
        assert near(why.score, self.model.score(query, doc_id))
        assert near(why.score, sum(match.contribution for match in why.matches))

    def hold(self, *, who: int = 0) -> None:
        """Keep a reader's view of the present."""
        self._held.append((self._engines[who]._snapshots.latest(), self.model.copy()))
        del self._held[:-3]

    def look_back(self, query: str, k: int, given: Filter | None = None) -> None:
        """What is held still gives the answers of its time, whatever has been merged away since."""
        for snapshot, model in self._held:
            try:
                model.accepted(given)
            except UnknownField:
                continue
            vectors = encode_queries(self.encoder, [query])
            for effort in (SearchConfig(), EVERYTHING):
                chosen = accepted(snapshot, given)
                (found,) = execute(vectors, snapshot, chosen, k, wanted=effort).results
                model.check_hits(query, k, given, fetch(found, snapshot, check_fields(None)), bare=False)

    def verify(self, *, who: int = 0) -> None:
        """Every checksum and invariant."""
        problems = self._engines[who].verify().problems
        assert not problems, f"verify finds {problems}"

    def _check(self, who: int) -> None:
        """All documents with all they have, as the other engine sees them."""
        assert len(self._engines[who]) == len(self.model.documents)
        self.search(PROBE, len(self.model.documents) + 1, who=who)
