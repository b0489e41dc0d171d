"""Upkeep: what it must bear, and what it must leave alone."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig, restore_index
from retrieval import maintenance as upkeep
from retrieval.errors import ConfigError, IndexNotFoundError
from retrieval.index.hnsw import bytes_to_build
from retrieval.storage import merge_policy, merging
from retrieval.training import advice
from tests.encoders import HashingDense

MANUAL = RuntimeConfig.of(maintenance="manual", pending_documents=4)


def documents(name: str, n: int) -> list[Document]:
    return [Document(f"{name}{i}", f"alpha {name} {i}") for i in range(n)]


@pytest.mark.parametrize("change", ["flush", "maintain", "compact", "add", "delete", "delete by filter"])
def test_an_engine_does_not_write_into_an_index_that_took_the_place_of_its_own(
    tmp_path: Path, change: str
) -> None:
    encoder = HashingDense()
    for name in ("old", "good"):
        with Engine.create(tmp_path / name, encoder, runtime=MANUAL) as made:
            made.add(documents(name, 4))
    with Engine.open(tmp_path / "old", encoder, runtime=MANUAL) as engine:
        assert len(engine.search("alpha")) == 4  # and nothing has been written by it
        restore_index(tmp_path / "good", tmp_path / "old", replace=True)
        calls = {
            "flush": engine.flush,
            "maintain": engine.maintain,
            "compact": engine.compact,
            "add": lambda: engine.add([Document("new", "alpha")]),
            "delete": lambda: engine.delete(["old1"]),
            "delete by filter": lambda: engine.delete(filter={"has_id": ["old1"]}),
        }
        with pytest.raises(IndexNotFoundError, match="replaced since it was opened; open it again"):
            calls[change]()
    with Engine.open(tmp_path / "old", encoder) as engine:
        assert sorted(hit.id for hit in engine.search("alpha")) == [f"good{i}" for i in range(4)]
        assert engine.verify().ok


def test_a_first_search_does_not_mix_two_indexes(tmp_path: Path) -> None:
    """Files of the same names and sizes, but another index's: only their catalog could tell."""
    encoder = HashingDense()
    for name in ("old", "new"):
        Engine.build(tmp_path / name, documents(name, 4), encoder)
    with Engine.open(tmp_path / "old", encoder) as engine:
        restore_index(tmp_path / "new", tmp_path / "old", replace=True)
        for ask in (lambda: engine.search("alpha"), lambda: engine.get("old1"), lambda: len(engine)):
            with pytest.raises(IndexNotFoundError, match="open it again"):
                ask()


def test_what_is_added_during_a_merge_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "BLOCK_DOCUMENTS", 2)
    pending: list[int] = []
    with Engine.create(tmp_path / "i", HashingDense(), runtime=MANUAL) as engine:
        for part in "abc":
            engine.add(documents(part, 4))
            engine.flush()
        real = upkeep.Maintenance._between_blocks

        def adding(self: upkeep.Maintenance) -> bool:
            engine.add(documents(f"m{len(pending)}-", 3))
            pending.append(engine.inspect().pending)
            return real(self)

        monkeypatch.setattr(upkeep.Maintenance, "_between_blocks", adding)
        engine.compact()
        monkeypatch.undo()
        assert len(pending) > 4 and max(pending) <= 6
        assert len(engine) == 12 + 3 * len(pending) and engine.verify().ok


def test_the_thread_outlives_a_failure_and_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = RuntimeConfig.of(pending_documents=2)
    failures = []

    def broken(self: upkeep.Maintenance) -> object:
        failures.append(time.monotonic())
        raise TypeError("not told to people")

    with Engine.create(tmp_path / "i", HashingDense(), runtime=runtime) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(upkeep.Maintenance, "run", broken)
            engine.add(documents("a", 2))
            while not failures:
                time.sleep(0.01)
            engine.add(documents("b", 2))
            time.sleep(0.1)
            assert len(failures) == 1  # it rests
        while engine._maintenance._resting_until == 0.0:  # set after the call has failed
            time.sleep(0.01)
        engine._maintenance._resting_until = 0.0
        engine.add(documents("c", 2))
        deadline = time.monotonic() + 30
        while engine.inspect().pending and time.monotonic() < deadline:
            time.sleep(0.02)
        assert engine.inspect().pending == 0 and len(engine) == 6


def test_much_text_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "BLOCK_BYTES", 1000)
    with Engine.create(tmp_path / "i", HashingDense(), runtime=MANUAL) as engine:
        long = [Document(f"long{i}", "alpha " * (200 * (i % 2) + 1)) for i in range(4)]
        engine.add(long)
        engine.flush()
        engine.compact()
        view = engine._snapshots.latest().segments[0]
        assert view.documents.id_column().num_chunks >= 2
        assert [engine.get(document.id) for document in long] == long and engine.verify().ok


def test_small_pieces_of_many_origins_become_one(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "i", HashingDense(), runtime=MANUAL) as engine:
        for i in range(6):
            engine.add(documents(f"x{i}-", 2))
            engine.flush()
        engine.upsert(documents("x0-", 2))  # nothing of the first origin lives on
        engine.compact()
        (view,) = engine._snapshots.latest().segments
        assert view.documents.id_column().num_chunks == 1
        assert len(view.origins) == 6 and engine.verify().ok  # five of before, and the last


def test_a_commit_of_much_text_goes_to_a_segment(tmp_path: Path) -> None:
    runtime = RuntimeConfig.of(maintenance="manual", pending_bytes=10_000)
    with Engine.create(tmp_path / "i", HashingDense(), runtime=runtime) as engine:
        engine.add([Document("small", "alpha")])
        assert engine.inspect().pending == 1
        engine.add([Document("large", "alpha " * 2000)])
        assert (engine.inspect().pending, engine.inspect().segments) == (1, 1)
        assert len(engine.search("alpha")) == 2


def test_what_memory_does_not_hold_is_not_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Graphs are built of segments as large as memory holds; larger ones are not begun."""
    recipe = RecipeConfig.of(index="hnsw", codec="int8", held_out=8)
    encoder = HashingDense(16)
    free = "retrieval.training.memory.free_memory"
    config = IndexConfig.of(recipe=recipe)
    Engine.build(tmp_path / "i", documents("a", 40), encoder, config=config, force=True)
    with Engine.open(tmp_path / "i", encoder, runtime=MANUAL) as engine:
        for i in range(merge_policy.FACTOR):
            engine.add(documents(f"b{i}-", 4))
            engine.flush()
        engine.add(documents("c", 2))
        before = engine.inspect(), sorted((tmp_path / "i").rglob("*"))
        monkeypatch.setattr(free, lambda: bytes_to_build(20, 16, "int8", recipe.m_links))
        with caplog.at_level(logging.WARNING, "retrieval.maintenance"):
            for _ in range(2):
                report = engine.maintain()
                assert report.merges == 0 and "a graph of 32 vectors" in str(report.apart)
        assert len(caplog.records) == 1, "said once"
        for change in (lambda: engine.compact(), lambda: engine.compact(retrain=True)):
            with pytest.raises(ConfigError, match=r"a graph of 74 vectors of 16 .* compact --force"):
                change()
        assert (engine.inspect(), sorted((tmp_path / "i").rglob("*"))) == before
        assert engine.compact(force=True).segments == 1
        assert engine.compact().apart is None, "nothing is left to be built"
        engine.add(documents("d", 1))
        smaller = engine.compact(recipe=RecipeConfig.of(index="flat", codec="int8", held_out=8))
        assert (smaller.folded, engine.inspect().pending) == (1, 0), "no graph is built for another recipe"
        monkeypatch.undo()
        assert len(engine.search("alpha", 100)) == 75 and engine.verify().ok


def test_what_waits_does_not_grow_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It becomes segments without a graph, which are merged with each other; `compact` makes one of all."""
    recipe, encoder = RecipeConfig.of(index="hnsw", codec="int8", held_out=8), HashingDense(16)
    build = documents("a", 40)
    Engine.build(tmp_path / "i", build, encoder, config=IndexConfig.of(recipe=recipe), force=True)
    with Engine.open(tmp_path / "i", encoder, runtime=MANUAL) as engine:
        monkeypatch.setattr("retrieval.training.memory.free_memory", lambda: 0)
        for i in range(merge_policy.FACTOR):
            engine.add(documents(f"b{i}-", 4))
            with caplog.at_level(logging.WARNING, "retrieval.maintenance"):
                assert engine.flush() == 4
            assert "does not arrange" in caplog.text and "a graph of 4 vectors" in caplog.text
        report, info = engine.maintain(), engine.inspect()
        assert (report.merges, report.apart, info.segments, info.pending) == (1, None, 2, 0)
        assert 0 < info.unarranged < 72 and str(info.unarranged) in advice(info)[-1]
        plan = engine.search("alpha", 5, explain="plan", params={"nprobe": 1}).plan
        assert plan is not None and plan["segments"] == {"probe": 1, "exact": 1}
        exact = engine.search("alpha", 100, params={"exact": True})
        assert len(exact) == 72 and engine.verify().ok
        monkeypatch.undo()
        assert engine.compact().merges == 1
        assert engine.inspect().unarranged == 0
        plan = engine.search("alpha", 5, explain="plan", params={"nprobe": 1}).plan
        assert plan is not None and plan["segments"] == {"probe": 1}
        assert [(hit.id, hit.score) for hit in engine.search("alpha", 100, params={"exact": True})] == [
            (hit.id, hit.score) for hit in exact
        ]
