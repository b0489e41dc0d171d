"""A conversion beside writers: what they do while it trains and writes is there after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig
from retrieval.config import SearchConfig
from retrieval.errors import IndexDamagedError, IndexLockedError
from retrieval.maintenance import Maintenance, MaintenanceReport
from retrieval.storage import Catalog, CodecRecord, Trained, load_current, load_trained, merge_lock
from tests.encoders import BucketDense

RUNTIME = RuntimeConfig.of(maintenance="manual", pending_documents=10)
RECIPE = RecipeConfig.of(index="ivf", bits=4, nlist=2, held_out=8)
EVERYTHING = SearchConfig(nprobe=10**6, num_candidates=10**6)
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]


def some(name: str, n: int) -> list[Document]:
    texts = [" ".join(word for j, word in enumerate(WORDS) if i + 1 >> j & 1) for i in range(n)]
    return [Document(f"{name}{i}", text, metadata={"n": i}) for i, text in enumerate(texts)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Afterwards everything has to be whole, and to be found by the recipe."""
    config = IndexConfig.of(segment_documents=20)
    Engine.build(tmp_path / "i", some("a", 50), BucketDense(), config=config)
    with Engine.open(tmp_path / "i", BucketDense(), runtime=RUNTIME) as engine:
        engine.add(some("p", 5))
        engine.delete(["a7", "p1"])
        yield engine
        report = engine.verify()
        assert report.ok, report.problems
        exact, found = (
            engine.search("beta gamma", k=200, params=params).hits for params in ({"exact": True}, EVERYTHING)
        )
        assert found == exact and {hit.id for hit in exact} == ids(engine)
        named = {view.number for view in engine.located()[0].snapshot.segments if not view.is_pending}
        assert {int(path.name) for path in (engine.path / "segments").iterdir()} == named
        assert len(list((engine.path / "codecs").glob("*"))) <= 1


def ids(engine: Engine) -> set[str]:
    return {hit.id for hit in engine.search("alpha", k=200, params={"exact": True}).hits}


def during(stage: str, *doing: Callable[[], object]) -> Callable[[str, float | None], None]:
    """Do one thing each time that a stage is told of, or where it tells how far it is, at its end."""
    left = list(doing)

    def told(now: str, share: float | None) -> None:
        if now == stage and share in (None, 1.0) and left:
            left.pop(0)()

    return told


@pytest.mark.parametrize("few", [0, 1000], ids=["in rounds", "with the swap"])
@pytest.mark.parametrize("stage", ["sample", "write the segment", "pseudo-queries"])
def test_others_write_meanwhile(
    engine: Engine, stage: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.conversion.FEW", few)
    expected = ids(engine)

    def write() -> None:
        engine.add(some("b", 3))
        engine.upsert([Document("a1", "zeta of late"), Document("p2", "zeta of late")])
        engine.delete(["a2", "p3", "b2"])
        with Engine.open(engine.path, BucketDense(), runtime=RUNTIME) as other:
            other.flush()
            other.add(some("c", 2))
            other.delete(["c1", "b1"])
            assert ids(other) == ids(engine)

    report = engine.compact("int8", recipe=RECIPE, progress=during(stage, write))
    assert report.training is not None and report.training.quality is not None
    assert ids(engine) == expected - {"a2", "p3"} | {"b0", "c0"}
    assert {engine.get(one).text for one in ("a1", "p2")} == {"zeta of late"}
    info = engine.inspect()
    assert (info.precision, (info.recipe or {})["index"]) == ("int8", "ivf")
    assert info.pending == 0 and info.segments == report.segments == (1 if stage == "sample" else 2)
    assert engine.compact().segments == 1


def test_who_writes_for_ever_does_not_keep_it_from_its_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.conversion.FEW", 0)
    monkeypatch.setattr("retrieval.conversion.ROUNDS", 2)
    more = [lambda n=n: engine.add(some(f"m{n}-", 1)) for n in range(3)]
    report = engine.compact("float16", progress=during("write the segment", *more))
    assert report.segments == 4 and len(ids(engine)) == 53 + 3


def test_many_documents_come_meanwhile(engine: Engine) -> None:
    many = during("train", lambda: engine.add(some("m", 25)))
    report = engine.compact("int8", recipe=RECIPE, progress=many)
    assert report.segments == 1 and len(ids(engine)) == 53 + 25


def test_what_fails_leaves_what_others_wrote(engine: Engine) -> None:
    def fail() -> None:
        engine.add(some("b", 2))
        raise ZeroDivisionError

    expected = ids(engine)
    with pytest.raises(ZeroDivisionError):
        engine.compact("int8", recipe=RECIPE, progress=during("pseudo-queries", fail))
    assert ids(engine) == expected | {"b0", "b1"}
    assert engine.inspect().precision == "float32"
    with merge_lock(engine.path) as free:
        assert free
    engine.compact("int8", recipe=RECIPE)


def test_to_close_waits_for_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine.open(engine.path, BucketDense(), runtime=RUNTIME) as other:
        closing, report = threading.Thread(target=other.close), Maintenance._report

        def late(self: Maintenance, folded: int, merges: int) -> MaintenanceReport:
            closing.join(0.2)
            return report(self, folded, merges)

        monkeypatch.setattr(Maintenance, "_report", late)
        done = other.compact("float16", progress=during("write the segment", closing.start))
        closing.join()
    assert done.segments == 1 and engine.inspect().precision == "float16"


def test_another_process_that_converts_is_noticed(engine: Engine) -> None:
    """One of an earlier version, say, which knows nothing of it."""

    def convert() -> None:
        with Catalog.open(engine.path, write=True) as catalog, catalog.transaction("convert"):
            record = catalog.codec()
            catalog.change_codec(replace(record, config={**record.config, "quality": {}}), [])

    with pytest.raises(IndexLockedError, match="otherwise than when the training began"):
        engine.compact("int8", recipe=RECIPE, progress=during("train", convert))


def test_who_reads_the_codec_as_it_is_replaced_reads_the_next(engine: Engine) -> None:
    with Catalog.open(engine.path) as catalog:
        before = catalog.codec()
        engine.compact("int8", recipe=RECIPE)
        now = catalog.codec()

    def load(root: Path, record: CodecRecord) -> Trained:
        if record == before:
            raise IndexDamagedError("its files are gone")
        return load_trained(root, record)

    named = iter([before, now])
    assert load_current(engine.path, lambda: next(named, now), load)[0] == now
    with pytest.raises(IndexDamagedError):
        load_current(engine.path, lambda: before, load)
