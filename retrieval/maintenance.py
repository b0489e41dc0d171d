"""Upkeep of an index that is written to: fold pending documents into segments, merge segments.

Nothing here changes what a search finds (but an integer of a field that has become a float is one
after it). A fold is short and keeps writers out; a merge, and a conversion too, writes
its files while others commit, and only swaps them in under the lock. Where a commit fails, its
files stay for `clear_leftovers`: only the next commit makes sure that it has failed for good.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.building import building, silent
from retrieval.config import RuntimeConfig
from retrieval.conversion import convert
from retrieval.errors import ConfigError, IndexLockedError, RetrievalError
from retrieval.registering import fold_pending, register_merged
from retrieval.storage import (
    Catalog,
    MergeStopped,
    SegmentSize,
    SegmentView,
    SegmentWriter,
    Snapshot,
    SnapshotKeeper,
    Trained,
    choose_merge,
    merge_lock,
    remove_segments,
    write_merged,
)
from retrieval.training import Conversion, check_arranging
from retrieval.types import TrainingProgress, TrainingReport
from retrieval.writer import Writer

__all__ = ["Maintenance", "MaintenanceReport"]

log = logging.getLogger("retrieval.maintenance")

REST_SECONDS = 60.0
"""After a failure, a full disk for instance, upkeep is not tried again with every write."""
SWAP_PATIENCE = 60.0
"""Seconds that a finished merge waits for another process to stop writing, before it is thrown away."""


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What upkeep did: ``folded`` pending documents, ``merges``, and the segments there are now;
    ``training`` where a new codec generation was made; ``apart`` says why segments were not merged that
    should be, None if there are none."""

    folded: int
    merges: int
    segments: int
    training: TrainingReport | None = None
    apart: str | None = None


class Maintenance:
    """Upkeep of one index, on request or by a thread of its own (`wake`)."""

    def __init__(self, root: Path, writer: Writer, snapshots: SnapshotKeeper, runtime: RuntimeConfig) -> None:
        self._root, self._writer, self._snapshots = root, writer, snapshots
        self._runtime = runtime
        self._busy, self._starting = threading.RLock(), threading.Lock()
        self._stopping, self._work = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._resting_until = 0.0
        self._apart: tuple[int, ...] = ()

    # -- in the background --------------------------------------------------------------------

    def wake(self) -> None:
        """Look soon whether something is to be done; the thread starts with the first call."""
        if self._runtime.maintenance == "manual":
            return
        with self._starting:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="retrieval-maintenance", daemon=True)
                self._thread.start()
        self._work.set()

    def stop(self) -> None:
        """End the thread; a merge under way is given up, and leaves nothing."""
        self._stopping.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join()
        with self._busy:  # a conversion is waited for
            pass

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work.wait()
            self._work.clear()
            if time.monotonic() < self._resting_until:
                continue
            try:
                self.run()
            except MergeStopped:
                return
            except IndexLockedError:
                continue  # another process is writing, and will do this
            except Exception as error:
                # Documents are safe where they are; a write after a while tries again.
                log.warning("upkeep of %s failed: %s", self._root, error, exc_info=not _is_told(error))
                self._resting_until = time.monotonic() + REST_SECONDS

    # -- on request ---------------------------------------------------------------------------

    def run(self) -> MaintenanceReport:
        """Fold if much is pending, and merge until the policy is content, or a merge would not fit in
        memory."""
        with building(self._runtime.threads):
            return self._keep_up()

    def _keep_up(self) -> MaintenanceReport:
        folded = self.fold() if self._is_much_pending() else 0
        merges, apart = 0, None
        # While there is a conversion, which takes long, the thread goes on to fold: nothing is to pile up.
        with self._merging(waits=threading.current_thread() is not self._thread) as free:
            while free and not self._stopping.is_set():
                snapshot = self._snapshots.latest()
                written = [view for view in snapshot.segments if not view.is_pending]
                views = _due(written)
                if (apart := self._too_large(snapshot, views)) is not None:
                    # Those that are scored one by one lose nothing by being merged as such.
                    views = _due([view for view in written if view.search is None])
                if not views:
                    break
                merges += self._merge(snapshot, views, arranged=apart is None)
            return replace(self._report(folded, merges), apart=apart)

    def _too_large(self, snapshot: Snapshot, views: Sequence[SegmentView]) -> str | None:
        """Why segments stay apart, or are not arranged; said once of the same ones, not with every write."""
        try:
            check_arranging(snapshot, sum(map(len, views)))
        except ConfigError as error:
            numbers = tuple(view.number for view in views)
            if numbers != self._apart:
                told = ", ".join(map(str, numbers))
                log.warning("upkeep of %s does not arrange the segments %s: %s", self._root, told, error)
            self._apart = numbers
            return str(error)
        return None

    def fold(self, *, force: bool = False) -> int:
        """Write the pending documents as a segment; returns how many. Where memory does not hold what the
        recipe makes of them, and there is no ``force``, they are scored one by one, as before, until a merge
        or `compact` finds the memory: else what is pending would grow without end.
        """
        with building(self._runtime.threads), self._writer.session() as catalog:
            snapshot = self._snapshots.latest()
            pending = [view for view in snapshot.segments if view.is_pending]
            arranged = force or not pending or self._too_large(snapshot, pending) is None
            target = snapshot.trained if arranged else Trained(snapshot.codec)
            return fold_pending(self._root, catalog, snapshot, target)

    def compact(
        self,
        conversion: Conversion | None = None,
        tell: TrainingProgress = silent,
        *,
        force: bool = False,
    ) -> MaintenanceReport:
        """Fold, then merge everything into one segment without deleted documents, with ``force`` even where
        memory seems too small.

        With a ``conversion`` it becomes a new codec generation, while others write: what they bring lies in
        further segments, which the next merge brings together.

        Raises:
            ConfigError: it would not fit in memory; nothing was written.
        """
        with building(self._runtime.threads, tell):
            return self._compacted(force) if conversion is None else self._converted(conversion)

    def _converted(self, conversion: Conversion) -> MaintenanceReport:
        with self._alone():
            done = convert(self._root, self._writer.session, self._snapshots, conversion)
            report = self._report(done.folded, 1)  # before `stop` returns, after which all is closed
        if report.segments > 1:
            self.wake()
        return replace(report, training=done.training)

    def _compacted(self, force: bool) -> MaintenanceReport:
        if not force:
            self._check_whole()
        folded = self.fold(force=force)
        with self._alone():
            snapshot = self._snapshots.latest()
            views = [view for view in snapshot.segments if not view.is_pending]
            wanted = len(views) > 1 or _is_left_undone(snapshot, views)
            merges = self._merge(snapshot, views) if wanted else 0
            return self._report(folded, merges)

    def _check_whole(self) -> None:
        """Whether everything can be one segment, if it is not yet."""
        snapshot = self._snapshots.latest()
        if len(snapshot.segments) > 1 or _is_left_undone(snapshot, snapshot.segments):
            check_arranging(snapshot, len(snapshot))

    @contextmanager
    def _merging(self, *, waits: bool = True) -> Iterator[bool]:
        """Whether nobody else merges, and nobody will. Another thread of this engine is waited for, unless
        ``waits`` is False."""
        if not self._busy.acquire(blocking=waits):
            yield False
            return
        try:
            with merge_lock(self._root) as free:
                yield free
        finally:
            self._busy.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody merges."""
        with self._merging() as free:
            if not free:
                raise IndexLockedError(f"{self._root} is being merged by another process; try again later")
            yield

    def _is_much_pending(self) -> bool:
        snapshot = self._snapshots.latest()
        for view in snapshot.segments:
            if view.is_pending:
                runtime = self._runtime
                return view.n_documents >= runtime.pending_documents or view.bytes >= runtime.pending_bytes
        return False

    def _merge(self, snapshot: Snapshot, views: Sequence[SegmentView], *, arranged: bool = True) -> int:
        """Merge segments while others commit, ``arranged`` by the recipe; the caller holds the merge lock.
        Returns 1, or 0 if a segment was taken away meanwhile."""
        with self._writer.session() as catalog, catalog.transaction("reserve"):
            number = catalog.take_number()
        target = snapshot.trained if arranged else Trained(snapshot.codec)
        files = write_merged(self._root, number, snapshot, views, trained=target, stop=self._between_blocks)
        numbers = [view.number for view in views]
        with self._writer.session(SWAP_PATIENCE) as catalog:
            if not set(numbers) <= set(catalog.segment_numbers()):
                files.abandon()
                return 0
            with catalog.transaction("merge") as generation:
                _swap(catalog, views, files, snapshot, snapshot.record.codec, generation)
        if not files.n_documents:
            files.abandon()
        remove_segments(self._root, numbers)
        return 1

    def _between_blocks(self) -> bool:
        """During a merge: what is added meanwhile must not pile up. Gives whether to stop."""
        if self._is_much_pending():
            with suppress(IndexLockedError):  # another process is writing
                self.fold()
        return self._stopping.is_set()

    def _report(self, folded: int, merges: int) -> MaintenanceReport:
        return MaintenanceReport(folded, merges, len(self._snapshots.latest().segments))


def _due(views: Sequence[SegmentView]) -> list[SegmentView]:
    """Those of some segments that are to become one."""
    chosen = choose_merge(
        [
            SegmentSize(view.number, view.n_documents, view.n_documents - len(view), view.bytes)
            for view in views
        ]
    )
    return [view for view in views if view.number in chosen]


def _is_left_undone(snapshot: Snapshot, views: Sequence[SegmentView]) -> bool:
    """Whether a segment holds deleted documents, or is not arranged although the recipe does that."""
    arranges = snapshot.trained.pipeline is not None
    return any(view.live is not None or (arranges and view.search is None) for view in views)


def _swap(
    catalog: Catalog,
    views: Sequence[SegmentView],
    files: SegmentWriter,
    snapshot: Snapshot,
    codec: int,
    generation: int,
) -> None:
    """Name the merged segment in place of its sources; inside a transaction. Documents deleted
    while it was being written keep their tombstones."""
    catalog.remove_segments([view.number for view in views])
    for view in views:
        catalog.register.clear_tombstones(view.origins, snapshot.generation)
    register_merged(catalog, files, files.origins, codec, generation)


def _is_told(error: Exception) -> bool:
    """Whether the message says all: these errors are made for people."""
    return isinstance(error, RetrievalError | OSError)
