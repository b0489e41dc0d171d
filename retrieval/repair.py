"""Repair of a damaged index: what can be derived is derived again from the stored documents.

A segment whose codes are damaged, but whose documents are whole, is encoded anew; where its births, its
offsets (of one vector a document) or what the trained search keeps of it are damaged, that is made again.
One whose documents are damaged, or whose documents brought the damaged vectors, is lost: it is named with
its ids, and dropped only on request; so is a commit that is still pending, the rest of which then becomes a
segment. A trained search whose own arrays are damaged is dropped: until it is trained again, every stored
vector is scored. Where the calibration is damaged that stored vectors are read by, all documents are
encoded anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.building import building
from retrieval.config import RuntimeConfig
from retrieval.encode import Encoder
from retrieval.errors import (
    ConfigError,
    IndexDamagedError,
    IndexFolderError,
    IndexLockedError,
    IndexUnfinishedError,
)
from retrieval.reencoding import READABLE, Lost, Reencoder, encode_all
from retrieval.registering import register_merged
from retrieval.storage import (
    CODEC,
    FEATURE,
    Catalog,
    CodecRecord,
    DamagedPending,
    SegmentReader,
    SegmentRecord,
    SegmentView,
    SegmentWriter,
    Snapshot,
    Trained,
    add_lock,
    damaged_pending,
    file_problems,
    load_codec,
    load_trained,
    merge_lock,
    remove_segments,
    remove_untrained,
    stored_part,
    trained_problems,
    whole_vectors,
    without_search,
    write_merged,
    write_salvaged,
    writer_lock,
)
from retrieval.training import untrained

__all__ = ["LostSegment", "RepairReport", "repair_index"]

Progress = Callable[[int, int], None]
GIVEN_ONCE = (
    "they were given, so no model can make them again; restore a copy, or drop these documents and add them "
    "again with their vectors"
)


@dataclass(frozen=True, slots=True)
class LostSegment:
    """A segment that cannot be derived again (None: pending documents), why, and the documents that were in
    it."""

    segment: int | None
    problem: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did: ``segments`` rebuilt, ``documents`` encoded again, and what is ``lost``;
    the latter is still there unless ``dropped``. ``search`` tells what became of a trained search that
    could not be kept, ``calibration`` that all documents were encoded again because stored vectors could not
    be read, and what was trained again; None: nothing was wrong with it. ``waiting`` tells what was asked for
    and is still to be trained, by `Engine.compact`, as after a repair that was killed while it calibrated."""

    segments: int
    documents: int
    lost: tuple[LostSegment, ...]
    dropped: bool
    search: str | None = None
    calibration: str | None = None
    waiting: tuple[str, ...] = ()


def repair_index(
    path: str | Path,
    encoder: Encoder | None = None,
    *,
    runtime: RuntimeConfig | None = None,
    drop_lost: bool = False,
    recalibrate: bool = False,
    progress: Progress | None = None,
) -> RepairReport:
    """Rebuild damaged segments from their documents, each in one commit, while others read.

    Where the calibration of stored vectors is damaged, which no other can take the place of, all documents
    are encoded again, and what was trained is trained again; ``recalibrate`` asks for that without damage
    (`IndexInfo.clipped`).

    Without ``encoder`` the one that the index was built with is loaded, when it is needed.
    ``progress(documents_done, documents_total)``.

    Raises:
        IndexDamagedError: the catalog itself is damaged, or the calibration and documents too: restore a
            copy.
        ConfigError: ``recalibrate``, and stored vectors have no calibration.
        IndexLockedError: another process is writing, merging or adding many documents.
        EncoderMismatchError: ``encoder`` is not the one the index was built with.
    """
    root = Path(path)
    Catalog.check_present(root)
    with (
        writer_lock(root),
        merge_lock(root) as free,
        add_lock(root) as idle,  # what is encoded now may be of a codec that is dropped
        Catalog.open(root, write=True) as catalog,
    ):
        if not (free and idle):
            doing = "added to" if free else "merged"
            raise IndexLockedError(f"{root} is being {doing} by another process; try again later")
        _check_catalog(root, catalog)
        again = Reencoder(root, catalog, encoder, runtime)
        with building(None if runtime is None else runtime.threads):
            if recalibrate:
                _check_calibrated(catalog.codec(), again)
            if recalibrate or _is_unreadable(root, catalog.codec()):
                report = _all_again(root, catalog, again, progress)
            else:
                report = _Repair(root, catalog, again).run(drop_lost=drop_lost, progress=progress)
        now, asked = catalog.codec().config, catalog.meta("config")
        return replace(report, waiting=tuple(untrained(asked, now.get("recipe"), now["precision"])))


def _check_calibrated(record: CodecRecord, again: Reencoder) -> None:
    """To encode all again as something less exact, and forget what is to be trained, would only do harm."""
    if not again.is_possible:
        raise ConfigError(
            "to calibrate again is to encode every document again, and these brought their vectors; build "
            "the index anew with them"
        )
    precision = record.config["precision"]
    if precision not in ("int8", "residual"):
        raise ConfigError(
            f"vectors are stored as {precision}, which is not calibrated: repair without --recalibrate (in "
            "Python: recalibrate=False), and compact what is not trained yet"
        )


def _is_unreadable(root: Path, record: CodecRecord) -> bool:
    """Whether that is damaged without which no stored vector can be read."""
    if trained_problems(root, record, CODEC):
        return True
    try:
        load_codec(root, record)
    except IndexDamagedError:
        return True
    return False


def _all_again(root: Path, catalog: Catalog, again: Reencoder, progress: Progress | None) -> RepairReport:
    segments, precision = len(catalog.segments()), catalog.codec().config["precision"]
    if not again.is_possible:
        raise IndexDamagedError(f"what {precision} vectors are read by is damaged, and {GIVEN_ONCE}")
    documents, is_whole = encode_all(root, catalog, again, progress or (lambda *_: None))
    told = f"every document was encoded again, and what {precision} needs was trained on them"
    if not is_whole:
        told = f"every document was encoded again; they are stored as {READABLE}, and compact trains the rest"
    return RepairReport(segments, documents, (), dropped=False, calibration=told)


def _check_catalog(root: Path, catalog: Catalog) -> None:
    """Only a catalog that is whole can say what has to be repaired."""
    if not catalog.build_state()["complete"]:
        raise IndexUnfinishedError(f"the build of {root} was interrupted; finish it with --resume first")
    problems = catalog.problems()
    if catalog.register.count_damaged_tombstones():
        problems.append("catalog: deletions are not what was committed; restore the index from a copy")
    for record in catalog.segments():
        if record.stored_checksum != record.checksum:
            problems.append(
                f"catalog: segment {record.segment} is not what was committed; restore the index from a copy"
            )
    if problems:
        raise IndexDamagedError(problems[0])


class _Repair:
    def __init__(self, root: Path, catalog: Catalog, again: Reencoder) -> None:
        self._root, self._catalog, self._again = root, catalog, again
        self._record = catalog.codec()
        self._search: str | None = None
        self._trained = self._usable()
        self._fields = catalog.fields().types

    def _usable(self) -> Trained:
        """What was trained, as far as it is whole; the search is dropped where it is not."""
        root, record = self._root, self._record
        codec = load_codec(root, record)
        found = trained_problems(root, record)
        try:
            if not found:
                return load_trained(root, record)
        except IndexDamagedError as error:
            found = [str(error)]
        self._record = without_search(record)
        with self._catalog.transaction("repair"):
            self._catalog.change_codec(self._record, [FEATURE] if self._record.files else [])
        with suppress(IndexFolderError):  # what remains does no harm
            remove_untrained(root, self._record)
        problem = found[0].rpartition(";")[0]
        self._search = (
            f"{problem}: the trained search was dropped, and every vector is scored now; "
            "train it again with compact --retrain, or another with compact --preset"
        )
        return Trained(codec)

    def run(self, *, drop_lost: bool, progress: Progress | None) -> RepairReport:
        damaged = [record for record in self._catalog.segments() if self._is_damaged(record)]
        total, rebuilt, done = sum(record.n_documents for record in damaged), 0, 0
        lost = self._lost_pending(drop=drop_lost)

        def tell(encoded: int) -> None:
            if progress is not None:
                progress(done + encoded, total)

        for record in damaged:
            try:
                done += self._rebuild(record, tell)
                rebuilt += 1
            except Lost as error:
                ids = tuple(self._catalog.register.born_in(record.origins))
                lost.append(LostSegment(record.segment, str(error), ids))
                if drop_lost:
                    self._drop(record)
        return RepairReport(rebuilt, done, tuple(lost), drop_lost and bool(lost), self._search)

    def _is_damaged(self, record: SegmentRecord) -> bool:
        if file_problems(self._root, record):
            return True
        try:
            return bool(SegmentReader(self._root, record, self._trained).problems())
        except IndexDamagedError:
            return True

    def _rebuild(self, record: SegmentRecord, tell: Callable[[int], None]) -> int:
        """Write the living documents of a segment as a new one; returns how many had to be encoded."""
        files = self._arranged_again(record)
        encoded = 0
        if files is None:
            stored = whole_vectors(self._root, record, self._record.kind)
            if stored is None and not self._again.is_possible:
                raise Lost(f"the vectors of segment {record.segment} are damaged, and {GIVEN_ONCE}")
            documents = self._again.documents(record)
            living, number = self._again.living(documents, record.origins), self._catalog.meta("next_number")
            files = self._again.write(int(number), self._trained, documents, living, tell, stored)
            encoded = files.n_documents if stored is None else 0
        with self._catalog.transaction("repair") as generation:
            self._catalog.take_number()
            self._catalog.remove_segments([record.segment])
            self._catalog.register.clear_tombstones(record.origins, generation)
            register_merged(self._catalog, files, record.origins, self._record.codec, generation)
        if not files.n_documents:
            files.abandon()
        remove_segments(self._root, [record.segment])
        return encoded

    def _arranged_again(self, record: SegmentRecord) -> SegmentWriter | None:
        """A segment whose codes and documents are whole, written with what the search keeps of it; None
        where they are not."""
        stored = stored_part(record)
        if file_problems(self._root, stored):
            return None
        try:
            reader = SegmentReader(self._root, stored)
        except IndexDamagedError:
            return None
        if reader.problems():
            return None
        view = SegmentView(reader).without(self._catalog.register.tombstones(record.origins))
        generation, number = self._catalog.generation(), int(self._catalog.meta("next_number"))
        snapshot = Snapshot(generation, self._record, self._trained, [view], self._fields)
        return write_merged(self._root, number, snapshot, [view])

    def _lost_pending(self, *, drop: bool) -> list[LostSegment]:
        """The pending documents that cannot be read; to drop them, the rest is folded."""
        found = damaged_pending(self._catalog)
        if found is None:
            return []
        if drop:
            self._drop_pending(found)
        return [LostSegment(None, found.problem, found.ids)]

    def _drop_pending(self, found: DamagedPending) -> None:
        files = None
        if found.whole:
            files = write_salvaged(self._root, self._catalog, self._trained, found.whole)
        with self._catalog.transaction("drop") as generation:
            self._catalog.register.drop_pending(found.ids)
            if files is not None:
                register_merged(self._catalog, files, files.origins, self._record.codec, generation)
        if files is not None and not files.n_documents:
            files.abandon()

    def _drop(self, record: SegmentRecord) -> None:
        with self._catalog.transaction("drop"):
            self._catalog.remove_segments([record.segment])
            self._catalog.register.forget(record.origins)
        remove_segments(self._root, [record.segment])
