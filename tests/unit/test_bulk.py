"""Many documents in one commit: others write while they are encoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Document, Engine, ErrorPolicy, IndexConfig, RecipeConfig, RuntimeConfig, repair_index
from retrieval.bulk import BulkAdd
from retrieval.corpus import FieldTypes
from retrieval.errors import DataError, IndexFolderError, IndexLockedError
from retrieval.storage import (
    CONVERTED,
    PROVISIONAL,
    Catalog,
    SegmentWriter,
    add_lock,
    fields_to_write,
    folder,
    merge_lock,
    writer_lock,
)
from retrieval.types import FloatArray, Precision
from tests.encoders import BucketDense

RUNTIME = RuntimeConfig.of(maintenance="manual", pending_documents=5)
FOREVER = 300.0
"""Seconds after which a test has failed."""


class Slow(BucketDense):
    """Documents that say "slow" take until something has been done."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        if texts and texts[0].startswith("slow"):
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            with ThreadPoolExecutor(1) as other:
                other.submit(meanwhile).result(FOREVER)
        return super().encode_document(texts)


def many(first: int = 0, n: int = 12, field: str = "", values: Sequence[int] = ()) -> list[Document]:
    made = [Document(f"m{i}", f"slow words {i}") for i in range(first, first + n)]
    return [replace(one, metadata={field: value}) for one, value in zip(made, values, strict=False)] or made


@pytest.fixture
def encoder() -> Slow:
    return Slow()


@pytest.fixture
def engine(tmp_path: Path, encoder: Slow) -> Engine:
    config = IndexConfig.of(segment_documents=5)
    with Engine.create(tmp_path / "index", encoder, config=config, runtime=RUNTIME) as engine:
        engine.add([Document("a", "one"), Document("b", "two")])
        yield engine
        assert engine.verify().ok
        assert {int(path.name) for path in (tmp_path / "index" / "segments").iterdir()} == {
            view.number for view in engine.located()[0].snapshot.segments if not view.is_pending
        }


def test_others_write_while_it_is_encoded(engine: Engine, encoder: Slow) -> None:
    seen: list[int] = []

    def write() -> None:
        engine.add([Document("c", "three")])
        engine.upsert([Document("b", "two again")])
        with Engine.open(engine.path, BucketDense(), runtime=RUNTIME) as other:
            other.delete(["a"])
            other.flush()
            seen.append(len(other))

    encoder.meanwhile = write
    told: list[int] = []
    report = engine.add(many(), progress=lambda now: told.append(now.documents))
    assert (report.documents, report.skipped, report.tokens, seen) == (12, 0, 12, [2])
    assert told == sorted(told) and told[-1] == 12
    assert [document.id for document in engine.scroll().documents] == [
        *("c", "b"),
        *(f"m{i}" for i in range(12)),
    ]
    assert {hit.id for hit in engine.search("slow words", 12)} == {f"m{i}" for i in range(12)}
    engine.compact()
    assert len(engine) == 14


def test_an_id_that_came_meanwhile(engine: Engine, encoder: Slow) -> None:
    encoder.meanwhile = lambda: engine.add([Document("m4", "theirs")])
    with pytest.raises(DataError, match="'m4', which somebody else has added meanwhile"):
        engine.add(many())
    assert len(engine) == 3
    encoder.meanwhile = lambda: engine.add([Document("m1", "theirs", metadata={"new": 1})])
    report = engine.add(many(), policy=ErrorPolicy("skip"))
    assert (report.documents, report.skipped) == (10, 2)
    assert engine.get("m1").text == engine.get("m4").text == "theirs"
    assert len(engine) == 14 and engine.count({"new": 1}) == 1
    encoder.meanwhile = lambda: engine.upsert([Document("m3", "theirs"), Document("m20", "theirs")])
    report = engine.upsert([*many(n=8), *many(16, 8), Document("m2", "slow last")])
    assert (report.documents, report.replaced) == (17, 10)  # m2 twice
    assert engine.get("m3").text == "slow words 3" and engine.get("m2").text == "slow last"
    engine.compact()
    assert len(engine) == 22


def test_a_field_that_came_meanwhile(engine: Engine, encoder: Slow) -> None:
    encoder.meanwhile = lambda: engine.add([Document("c", "three", metadata={"n": "word"})])
    with pytest.raises(DataError, match=r"'m0'.*field 'n' is int64 here but string before"):
        engine.add(many(values=[1] * 12, field="n"))
    encoder.meanwhile = lambda: engine.add([Document("d", "four", metadata={"x": 0.5})])
    engine.add(many(values=range(12), field="x"))
    assert engine.inspect().fields == {"n": "string", "x": "double"}
    assert engine.count({"x": {"gte": 0.5}}) == 12
    engine.compact()
    assert engine.get("m4").metadata == {"x": 4.0}


def test_a_field_that_came_just_as_it_began(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def others_add(catalog: Catalog) -> FieldTypes:
        fields = fields_to_write(catalog)
        monkeypatch.setattr("retrieval.build.fields_to_write", fields_to_write)
        engine.add([Document("c", "three", metadata={"new": "c"})])
        return fields

    monkeypatch.setattr("retrieval.build.fields_to_write", others_add)
    engine.add(many())
    assert engine.inspect().fields == {"new": "string"}


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_the_index_is_converted_meanwhile(engine: Engine, encoder: Slow, precision: Precision) -> None:
    recipe = RecipeConfig.of(index="ivf", bits=4, nlist=2, held_out=8)
    engine.add([Document(f"w{i}", f"{i} words slow") for i in range(5)])  # to be calibrated by
    encoder.meanwhile = lambda: engine.compact(precision, recipe=recipe, force=True)
    report = engine.add(many(values=range(12), field="n"))
    assert (report.documents, len(engine), engine.count({"n": {"gte": 3}})) == (12, 19, 9)
    assert (engine.inspect().clipped is None) is (precision != "int8")
    assert all(view.search is not None for view in engine.located()[0].snapshot.segments)
    assert engine.get("m4").text == "slow words 4"
    assert {hit.id for hit in engine.search("slow words 4", 2, params={"exact": True}).hits} == {"m4", "w4"}


def test_two_of_them_take_turns(engine: Engine, encoder: Slow) -> None:
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        second = []

        def meanwhile() -> None:
            second.append(pool.submit(lambda: (begun.set(), engine.add(many(50)))[1]))
            begun.wait(FOREVER)

        encoder.meanwhile = meanwhile
        engine.add(many())
        assert second[0].result(FOREVER).documents == 12
    assert len(engine) == 26


def test_to_close_waits_for_it(tmp_path: Path, encoder: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.create(
        tmp_path / "i", encoder, config=IndexConfig.of(segment_documents=5), runtime=RUNTIME
    )
    closed, close = threading.Event(), Catalog.close
    monkeypatch.setattr(Catalog, "close", lambda catalog: (close(catalog), closed.set())[0])
    with ThreadPoolExecutor(1) as pool:
        closing: list[Future[None]] = []
        encoder.meanwhile = lambda: (closing.append(pool.submit(engine.close)), closed.wait(0.05))
        assert engine.add(many()).documents == 12
        closing[0].result(FOREVER)
    with Engine.open(tmp_path / "i", encoder) as engine:
        assert len(engine) == 12


def test_what_was_killed_is_cleared_when_nobody_adds(engine: Engine) -> None:
    left, converted = (engine.path / "segments" / str(number) for number in (PROVISIONAL, CONVERTED))
    left.mkdir(parents=True)
    (left / "codes.bin").touch()
    converted.mkdir()
    with add_lock(engine.path) as held:
        assert held
        engine.add([Document("c", "three")])
        assert left.exists() and not converted.exists()
        with pytest.raises(IndexLockedError, match="adding many documents"):
            engine.add(many())
    engine.add([Document("d", "four")])
    assert not left.exists()


def test_who_removes_what_is_left_keeps_nobody_from_adding(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, remove = [], folder.remove
    for number in (77, PROVISIONAL):
        (engine.path / "segments" / f"{number:08d}").mkdir(parents=True)

    def removing(path: Path) -> None:
        if path.exists():
            with add_lock(engine.path) as adding, merge_lock(engine.path) as merging:
                free.append(adding and merging)
        remove(path)

    monkeypatch.setattr(folder, "remove", removing)
    (engine.path / "segments" / "00000078.gone").mkdir()  # of one that was killed while it removed
    engine.delete(["a"])
    assert free == [True] * 3 and not list((engine.path / "segments").iterdir())


def test_nobody_repairs_while_it_is_encoded(engine: Engine, encoder: Slow) -> None:
    """What a repair drops of the codec would be missed when all has been encoded."""
    told: list[str] = []

    def repair() -> None:
        with pytest.raises(IndexLockedError) as caught:
            repair_index(engine.path, encoder)
        told.append(str(caught.value))

    encoder.meanwhile = repair
    assert engine.add(many()).documents == 12
    assert len(told) == 1 and "is being added to by another process" in told[0]
    assert repair_index(engine.path, encoder).segments == 0


def test_small_commits_leave_the_merge_lock_alone_while_it_is_encoded(
    engine: Engine, encoder: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "retrieval.storage.folder.merge_lock", lambda _: pytest.fail("no merge left anything")
    )
    encoder.meanwhile = lambda: engine.add([Document("c", "three")])
    engine.add([*(Document(f"q{i}", "quick") for i in range(5)), *many()])
    assert len(engine) == 20


def test_what_fails_while_it_is_named_is_gone_before_the_lock(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, abandon, locked = BulkAdd._register, SegmentWriter.abandon, []

    def failing(self: BulkAdd, writer: SegmentWriter, *rest: Any) -> None:
        if self._documents:
            raise IndexFolderError("the disk is full")
        register(self, writer, *rest)

    def watched(self: SegmentWriter) -> None:
        try:
            with writer_lock(engine.path, 0):
                locked.append(False)
        except IndexLockedError:
            locked.append(True)
        abandon(self)

    monkeypatch.setattr(BulkAdd, "_register", failing)
    monkeypatch.setattr(SegmentWriter, "abandon", watched)
    with pytest.raises(IndexFolderError, match="full"):
        engine.add(many())
    assert locked == [True] * 3, "the next writer gets their numbers"
    assert len(engine) == 2


def test_what_fails_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object, texts: Sequence[str]) -> FloatArray:
        return np.full((len(texts), 64), np.nan if "slow words 7" in texts else 1, np.float32)

    monkeypatch.setattr(Slow, "encode_document", broken)
    with pytest.raises(Exception, match="NaN"):
        engine.add(many())
    assert len(engine) == 2
