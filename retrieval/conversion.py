"""Another codec generation for an index that is there: train, write every segment anew, measure, swap.

Others commit meanwhile. What they bring is written anew too, in rounds that become shorter, and only the
last few documents together with the swap, under the writer lock. Readers see the old generation until then.
Killed at any moment it leaves the index as it was, but for pending documents: they may be a segment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.building import holding_blas, teller
from retrieval.config import IndexConfig
from retrieval.errors import IndexFolderError, IndexLockedError
from retrieval.registering import fold_pending, merged_record, register_merged
from retrieval.storage import (
    CONVERTED,
    FEATURE,
    STRAIN,
    WAIT_SECONDS,
    Catalog,
    CodecRecord,
    SegmentReader,
    SegmentView,
    SegmentWriter,
    Session,
    Snapshot,
    SnapshotKeeper,
    Trained,
    map_array,
    remove_segments,
    remove_trained,
    write_merged,
    write_trained,
)
from retrieval.training import Conversion, Trainer
from retrieval.types import TrainingReport

__all__ = ["Converted", "convert"]

SWAP_PATIENCE = 60.0
"""Seconds that a finished round waits for another process to stop writing, before all is thrown away."""
FEW = 256
"""Documents that are written anew while writers wait."""
ROUNDS = 8
"""After so many, what is left is no longer few only because others write faster than this: then they wait."""


class Converted(NamedTuple):
    """What a conversion did, and how many documents were pending before it."""

    training: TrainingReport
    folded: int


class _Part(NamedTuple):
    """Segments of one snapshot, and what takes their place."""

    snapshot: Snapshot
    views: Sequence[SegmentView]
    files: SegmentWriter


def convert(root: Path, session: Session, snapshots: SnapshotKeeper, asked: Conversion) -> Converted:
    """Make the new generation of everything; the caller keeps others from merging, and says with `building`
    on how many threads and whom to tell.

    Raises:
        ConfigError: a recipe that does not fit these vectors, or without ``force`` this machine.
        CollapsedError: vectors that do not tell documents apart, without ``force``.
        IndexLockedError: another process keeps the writer lock.
    """
    with holding_blas():
        return _Converting(root, session, snapshots, asked).run()


class _Converting:
    def __init__(self, root: Path, session: Session, snapshots: SnapshotKeeper, asked: Conversion) -> None:
        self._root, self._session, self._snapshots = root, session, snapshots
        snapshot = snapshots.latest()
        with session(WAIT_SECONDS) as catalog:
            config = IndexConfig.of(**catalog.meta("config"))
        self._trainer = Trainer(snapshot, config, asked)
        self._before, self._generation = snapshot.record, snapshot.record.codec + 1
        self._parts: list[_Part] = []
        self._folded = 0

    def run(self) -> Converted:
        started = time.perf_counter()
        trained, quality = self._trainer.train()
        warnings: list[str] = []
        with ExitStack() as held:
            try:
                with self._session(SWAP_PATIENCE):  # which looks whether this index is still in its place
                    written = write_trained(self._root, self._generation, trained)
                config = {"precision": self._trainer.precision, **written}
                self._round(trained)
                if trained.pipeline is not None:
                    config |= {"recipe": self._trainer.recipe.model_dump(mode="json")}
                    config["quality"] = quality | self._measured(trained, config, warnings)
                catalog = self._catch_up(trained, held)
            except BaseException:
                self._abandon()
                raise
            # A commit that fails or is interrupted may have happened: only `clear_leftovers` can tell.
            self._commit(catalog, self._record(trained, config))
        self._clean()
        report = TrainingReport(config.get("quality"), tuple(warnings), time.perf_counter() - started)
        return Converted(report, self._folded)

    def _round(self, trained: Trained) -> None:
        """Write all that is there and not written yet; others commit meanwhile."""
        with self._session(SWAP_PATIENCE) as catalog:
            snapshot = self._latest()
            # An origin lies in one segment: what comes from now on has another. It is not arranged, since the
            # recipe goes, and there may not be the memory for it.
            self._folded += fold_pending(self._root, catalog, snapshot, Trained(snapshot.codec))
            snapshot = self._latest()
        self._write(snapshot, trained)

    def _catch_up(self, trained: Trained, held: ExitStack) -> Catalog:
        """Rounds until few documents are left, which are written with the writer lock; it stays ``held``."""
        while True:
            with ExitStack() as session:
                catalog = session.enter_context(self._session(SWAP_PATIENCE))
                snapshot = self._latest()
                left = self._left(snapshot)
                if sum(len(view) for view in left) <= FEW or len(self._parts) > ROUNDS:
                    if left:
                        self._folded += sum(len(view) for view in left if view.is_pending)
                        self._write(snapshot, trained)
                    held.push(session.pop_all())
                    return catalog
            self._round(trained)

    def _latest(self) -> Snapshot:
        snapshot = self._snapshots.latest()
        if snapshot.record != self._before:
            raise IndexLockedError(
                f"{self._root} stores or finds vectors otherwise than when the training began; try again"
            )
        return snapshot

    def _left(self, snapshot: Snapshot) -> list[SegmentView]:
        done = {view.number for part in self._parts for view in part.views}
        return [view for view in snapshot.segments if view.number not in done]

    def _write(self, snapshot: Snapshot, trained: Trained) -> None:
        """What is left, as one segment of the new generation. It gets its number with the swap: one that was
        taken now would be another after a kill, and so would a build that is resumed."""
        views, tell = self._left(snapshot), teller()
        total = max(sum(len(view) for view in views), 1)
        files = write_merged(
            self._root,
            CONVERTED + len(self._parts),
            snapshot,
            views,
            trained=trained,
            written=lambda done: tell("write the segment", done / total),
        )
        self._parts.append(_Part(snapshot, views, files))

    def _measured(self, trained: Trained, config: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
        """What the first round, with nearly everything, is worth."""
        files = self._parts[0].files
        record = merged_record(files, files.origins, self._generation, 0)
        strain = None
        if record.has_file(STRAIN):
            strain = float(map_array(self._root, record.file(STRAIN))[0])
        view = SegmentView(SegmentReader(self._root, record, trained))
        return self._trainer.measured(view, strain, trained, self._record(trained, config), warnings)

    def _record(self, trained: Trained, config: dict[str, Any]) -> CodecRecord:
        return replace(self._before, codec=self._generation, name=trained.codec.name, config=config)

    def _commit(self, catalog: Catalog, record: CodecRecord) -> None:
        now = IndexConfig.of(**catalog.meta("config"))
        config = now.replace(precision=self._trainer.precision, recipe=self._trainer.recipe)
        with catalog.transaction("convert") as generation:
            catalog.set_meta("config", config.as_json())
            catalog.keep_built()
            catalog.register.clear_pending()
            for snapshot, views, _ in self._parts:
                catalog.remove_segments([view.number for view in views])
                for view in views:
                    catalog.register.clear_tombstones(view.origins, snapshot.generation)
            catalog.replace_codecs(record, [FEATURE] if record.files else [])
            for _, _, files in self._parts:
                if files.n_documents:
                    files.renumber(catalog.take_number())
                register_merged(catalog, files, files.origins, record.codec, generation)

    def _clean(self) -> None:
        for _, views, files in self._parts:
            if not files.n_documents:
                files.abandon()
            remove_segments(self._root, [view.number for view in views])
        with suppress(IndexFolderError):
            remove_trained(self._root, self._before.codec)

    def _abandon(self) -> None:
        # Where another index has come to the place of this one, nothing there is ours. What remains
        # otherwise, the next writer removes.
        with suppress(IndexFolderError), self._session(WAIT_SECONDS):
            remove_trained(self._root, self._generation)
            for part in self._parts:
                part.files.abandon()
