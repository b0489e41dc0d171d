"""The registry by itself: nobody's engine is closed under them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrieval import Document, Engine
from retrieval.errors import ConfigError, IndexNotFoundError
from server.collections.registry import Registry
from server.http.problems import ProblemError
from server.observing.logs import make_logger
from tests.encoders import HashingDense


class NoAliases:
    def alias(self, name: str) -> str | None:
        return {"other": "notes", "lost": "gone"}.get(name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Engine.create(tmp_path / "notes", HashingDense()) as engine:
        engine.add([Document(id=f"d{i}", text=f"wing {i}") for i in range(5)])
    return tmp_path / "notes"


class Opening:
    """Opens engines and remembers them."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []

    def __call__(self, name: str, path: Path) -> Engine:
        engine = Engine.open(path, HashingDense())
        self.engines.append(engine)
        return engine

    def open_ones(self) -> int:
        return sum(not engine._closed for engine in self.engines)


@pytest.fixture
def opening() -> Opening:
    return Opening()


@pytest.fixture
def registry(path: Path, opening: Opening):
    registry = Registry({"notes": path}, NoAliases(), make_logger())
    registry.load(opening)
    yield registry
    registry.close()
    assert opening.open_ones() == 0


def test_a_hundred_swaps_while_eight_threads_search(registry, opening):
    ended = threading.Event()

    def searching() -> int:
        done = 0
        while not ended.is_set():
            with registry.lease("notes" if done % 2 else "other") as engine:
                assert len(engine.search("wing", k=5)) == 5
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(searching) for _ in range(8)]
        try:
            for _ in range(100):
                with registry.changing("notes"):
                    registry.swap("notes", opening)
        finally:
            ended.set()
        assert all(search.result() > 0 for search in searches)
    assert len(opening.engines) == 101
    deadline = time.monotonic() + 30
    while opening.open_ones() > 1:
        assert time.monotonic() < deadline, "replaced engines stay open"
        time.sleep(0.01)


def test_a_swap_that_fails_changes_nothing(registry, opening):
    def failing(name: str, path: Path) -> Engine:
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        registry.swap("notes", failing)
    with registry.lease("notes") as engine:
        assert engine is opening.engines[0]


def test_a_leased_engine_outlives_its_swap(registry, opening):
    with registry.lease("notes") as old:
        registry.swap("notes", opening)
        with registry.lease("notes") as new:
            assert new is not old
        assert len(old.search("wing", k=5)) == 5


def test_what_is_used_too_long_is_not_removed(registry):
    with registry.lease("notes") as engine:
        with pytest.raises(ProblemError) as caught:
            registry.remove("notes", patience=0.05)
        assert (caught.value.status, caught.value.code) == (409, "collection_busy")
        assert len(engine) == 5
    with registry.lease("notes") as again:
        assert again is engine
    registry.remove("notes")
    with pytest.raises(ProblemError, match="there are none"), registry.lease("notes"):
        pass


def test_changes_of_one_name_take_turns(registry):
    with registry.changing("notes", "x"):
        with registry.changing("y"):
            pass
        with pytest.raises(ProblemError) as caught, registry.changing("x", "y", patience=0.05):
            pass
        assert (caught.value.status, caught.value.code) == (503, "collection_busy")
    with registry.changing("x", "y"):
        pass


def test_names(registry):
    assert registry.true_name("other") == "notes"
    assert registry.resolve("other") == "notes"
    assert registry.true_name("lost") == "gone"
    with pytest.raises(ProblemError, match="where the alias 'lost' leads"):
        registry.resolve("lost")
    for hostile in ("\ud800", "\x00", "", "x" * 9000, "../notes"):
        assert registry.true_name(hostile) == hostile


def test_what_is_being_removed_is_busy_and_not_unknown(tmp_path):
    engine = Engine.create(tmp_path / "a", HashingDense())
    registry = Registry({}, NoAliases(), make_logger())
    registry.add("a", tmp_path / "a", engine)
    told = []
    with registry.lease("a"):
        removing = threading.Thread(target=lambda: told.append(_problem(lambda: registry.remove("a", 0.5))))
        removing.start()
        deadline = time.monotonic() + 30
        while (found := _problem(lambda: _use(registry))) is None:
            assert time.monotonic() < deadline
        assert (found.status, found.code) == (503, "collection_busy")
        removing.join()
    assert (told[0].status, told[0].code) == (409, "collection_busy")
    with registry.lease("a") as there:  # as before
        assert there is engine
    registry.remove("a")
    assert _problem(lambda: registry.resolve("a")).status == 404


def test_an_index_that_was_replaced_by_hand_is_busy_and_one_that_went_is_gone(registry, path, tmp_path):
    """The engine has not looked since, and cannot any more."""
    Engine.create(tmp_path / "new", HashingDense()).close()
    path.rename(tmp_path / "old")
    assert type(_problem(lambda: _count(registry))) is IndexNotFoundError
    (tmp_path / "new").rename(path)
    found = _problem(lambda: _count(registry))
    assert (found.status, found.code) == (503, "collection_busy") and found.headers["Retry-After"]


def _count(registry):
    with registry.lease("notes") as engine:
        len(engine)


def _use(registry):
    with registry.lease("a"):
        pass


def _problem(call):
    try:
        call()
    except (ProblemError, IndexNotFoundError) as error:
        return error
    return None
