"""A keeper's snapshots: each is a commit, made from the last one, and changed by none that follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval import Document, Engine, IndexConfig, RuntimeConfig
from retrieval.errors import IndexDamagedError
from retrieval.storage import Catalog, Snapshot, SnapshotKeeper
from retrieval.storage import snapshot as snapshots
from tests.encoders import HashingDense, HashingLate


@pytest.fixture(params=[HashingDense, HashingLate])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    runtime = RuntimeConfig.of(maintenance="manual", pending_documents=3)
    config = IndexConfig.of(segment_documents=3)
    with Engine.create(tmp_path / "i", request.param(dim=8), config=config, runtime=runtime) as engine:
        yield engine


@pytest.fixture
def keeper(engine: Engine) -> Iterator[SnapshotKeeper]:
    with Catalog.open(engine.path) as catalog:
        yield SnapshotKeeper(engine.path, catalog)


def documents(*names: str) -> list[Document]:
    return [Document(name, f"alpha {name}", metadata={"name": name}) for name in names]


def shown(snapshot: Snapshot) -> dict[str, tuple[str, bytes]]:
    """The living documents: texts and codes."""
    return {
        view.documents.ids()[i]: (view.documents.text(i), view.document_codes(i).tobytes())
        for view in snapshot.segments
        for i in range(view.n_documents)
        if view.live is None or view.live[i]
    }


def fresh(engine: Engine) -> dict[str, tuple[str, bytes]]:
    """What one who comes now sees."""
    with Catalog.open(engine.path) as catalog:
        return shown(SnapshotKeeper(engine.path, catalog).latest())


def history(engine: Engine) -> Iterator[None]:
    """Changes of every kind, one after the other."""
    engine.add(documents("a", "b"))
    yield
    engine.add(documents("c"))
    yield
    engine.delete(["b"])
    yield
    engine.flush()
    yield
    engine.upsert(documents("a", "d"))
    yield
    engine.add(documents("e", "f", "g", "h"))  # beyond what may be pending: segments
    yield
    engine.delete(["f", "d"])
    yield
    engine.compact()
    yield
    engine.upsert(documents("c", "b"))
    yield
    engine.delete(["a", "b"])
    yield
    engine.compact("float16")
    yield
    engine.delete(["c", "e", "g", "h"])
    yield
    engine.compact()


def test_every_snapshot_equals_a_fresh_one_and_stays_as_it_is(engine: Engine, keeper: SnapshotKeeper) -> None:
    seen = []
    for _ in history(engine):
        snapshot = keeper.latest()
        assert shown(snapshot) == fresh(engine) and len(snapshot) == len(shown(snapshot)) == len(engine)
        seen.append((snapshot, shown(snapshot)))
    for snapshot, before in seen:  # by now every file of the first ones is gone
        assert shown(snapshot) == before
    generations = [snapshot.generation for snapshot, _ in seen]
    assert generations == sorted(set(generations))


def test_a_keeper_that_misses_commits_catches_up(engine: Engine, keeper: SnapshotKeeper) -> None:
    for i, _ in enumerate(history(engine)):
        if i % 3 == 0:
            assert shown(keeper.latest()) == fresh(engine)
    assert shown(keeper.latest()) == fresh(engine) == {}


def test_without_a_commit_it_is_the_same_object(engine: Engine, keeper: SnapshotKeeper) -> None:
    engine.add(documents("a"))
    first = keeper.latest()
    assert keeper.latest() is first
    engine.add(documents("b"))
    assert keeper.latest() is not first


def test_what_did_not_change_is_not_opened_again(
    engine: Engine, keeper: SnapshotKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def counting(reader: Any, root: Path, record: Any, trained: Any) -> None:
        opened.append(record.segment)
        initialise(reader, root, record, trained)

    initialise = snapshots.SegmentReader.__init__
    monkeypatch.setattr(snapshots.SegmentReader, "__init__", counting)
    for name in "abc":
        engine.add(documents(name))
        engine.flush()
        opened.clear()
        keeper.latest()
        assert len(opened) == 1, "only the new one"
    opened.clear()
    codes = keeper.latest().segments[0].codes
    engine.add(documents("d"))
    engine.delete(["b"])
    assert keeper.latest().segments[0].codes is codes and opened == []
    assert [len(view) for view in keeper.latest().segments] == [1, 0, 1, 1]


def test_pending_batches_are_read_once(
    engine: Engine, keeper: SnapshotKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def counting(buffer: Any, batch: Any) -> None:
        taken.append(batch.generation)
        append(buffer, batch)

    append = snapshots.PendingBuffer.append
    monkeypatch.setattr(snapshots.PendingBuffer, "append", counting)
    for name in "ab":
        engine.add(documents(name))
        keeper.latest()
    engine.delete(["a"])
    assert len(keeper.latest()) == 1
    assert len(taken) == len(set(taken)) == 2


def test_births_lead_to_documents_wherever_merges_carried_them(
    engine: Engine, keeper: SnapshotKeeper
) -> None:
    engine.add(documents("a", "b"))
    engine.flush()
    engine.add(documents("c", "d"))
    births = {name: keeper.locate(name)[1] for name in "abcd"}
    engine.delete(["a"])
    for change in (engine.flush, engine.compact, lambda: engine.compact("float16")):
        change()
        for name in "bcd":
            snapshot, birth = keeper.locate(name)
            assert birth is not None and birth == births[name]
            position, ordinal = snapshot.place(birth)
            assert snapshot.segments[position].documents.document(ordinal).id == name
        assert keeper.locate("a")[1] is None
        gone = births["a"]
        assert gone is not None
    with pytest.raises(IndexDamagedError, match=f"origin {gone.origin} is in no segment"):
        keeper.latest().place(gone)


def test_a_reader_that_comes_too_late_for_a_segment_starts_again(
    engine: Engine, keeper: SnapshotKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        engine.add(documents(name))
        engine.flush()

    def after_a_merge(root: Path, record: Any, trained: Any) -> Any:
        monkeypatch.undo()  # the merge reads segments too
        engine.compact()
        return snapshots.SegmentReader(root, record, trained)

    monkeypatch.setattr(snapshots, "SegmentReader", after_a_merge)
    snapshot = keeper.latest()
    assert [len(view) for view in snapshot.segments] == [2]
    assert snapshot.generation == engine.inspect().generation


def test_a_lost_file_is_no_reason_to_try_for_ever(engine: Engine, keeper: SnapshotKeeper) -> None:
    engine.add(documents("a"))
    engine.flush()
    (lost,) = (engine.path / "segments").rglob("codes.bin")
    lost.unlink()
    with pytest.raises(IndexDamagedError, match=r"codes\.bin is missing"):
        keeper.latest()
